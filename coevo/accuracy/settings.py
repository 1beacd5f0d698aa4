"""What an experiment may say about data, limits and proxy training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from coevo.errors import near

DATA_NAMES = ("digits", "mnist", "fashion_mnist", "cifar10")
"""The data sets that go by a name."""


def _known(name: str) -> str:
    if name not in DATA_NAMES and not is_own(name):
        raise ValueError(f"no data set {name!r} {near(name, DATA_NAMES)}; your own are path/to/file.py:function")
    return name


def is_own(name: str) -> bool:
    """Says whether the name of a data set stands for a function of the user's."""
    return ".py:" in name


DataName = Annotated[str, AfterValidator(_known)]


class DataSettings(BaseModel):
    """Which images: what every model that looks at images is told.

    Attributes:
        data: ``digits`` (embedded), ``mnist``, ``fashion_mnist`` or ``cifar10`` (from local files), or
            ``path/to/file.py:function`` (`coevo.accuracy.own_data`).
        folder: Where those files lie, from the experiment file's folder or the working directory; empty: the
            folder that the environment variable ``COEVO_DATA`` names. Data of the user's own need none.
        train_images: Images to train on; None takes all that validation leaves of the data's training part.
        validation_images: Images that the search's error is counted on; None takes a fifth of the training part.
        test_images: Images that the report's error is counted on; None takes the data's whole test part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    data: DataName = "digits"
    folder: str = ""
    train_images: int | None = Field(default=None, ge=2)
    validation_images: int | None = Field(default=None, ge=1)
    test_images: int | None = Field(default=None, ge=1)


class LimitSettings(BaseModel):
    """What a task may take, in a process of its own.

    Attributes:
        time_limit_s: A task that takes longer is a failure [s].
        memory_limit_mib: What a task may allocate where it computes: in main memory beyond what the program itself
            takes (Linux only), or on the GPU [MiB].
        device: ``auto`` is the GPU if there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    time_limit_s: float = Field(default=600.0, gt=0)
    memory_limit_mib: int = Field(default=4096, ge=64)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class ReducedSettings(BaseModel):
    """Cheaper networks in the place of those that are meant (`coevo.networks.narrow`).

    Attributes:
        resolution: Share of the height and width that networks compute at.
        width: Share of every convolution's channels.
        depth: Share of the cells that the family repeats (``cell`` alone).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    resolution: float = Field(default=1.0, gt=0, le=1)
    width: float = Field(default=1.0, gt=0, le=1)
    depth: float = Field(default=1.0, gt=0, le=1)

    @property
    def reduction(self) -> dict[str, float]:
        """The shares by name."""
        return {"resolution": self.resolution, "width": self.width, "depth": self.depth}

    @property
    def reductions(self) -> list[str]:
        """What is reduced, in words."""
        return [f"{name} x {share:g}" for name, share in self.reduction.items() if share < 1]


_KEEPING = ("keep_weights", "checkpoints", "time_limit_s", "memory_limit_mib", "device")
"""Settings that no figure depends on."""


class TrainSettings(DataSettings, LimitSettings, ReducedSettings):
    """Settings of `coevo.accuracy.train`: the data, limits, and how each network is trained.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step; the last, incomplete batch of an epoch is left out.
        optimizer: ``sgd`` (Nesterov's momentum of 0.9) or ``adamw``.
        learning_rate: Its peak, reached after a linear warm-up.
        schedule: How it falls from there: ``cosine`` or ``linear`` to 0, ``step`` (a tenth after half of the steps, a
            hundredth after three quarters), or ``constant``.
        warm_up: Share of the steps that the warm-up takes.
        weight_decay: Of the optimiser.
        label_smoothing: Share of the label spread over all classes.
        augment: Whether training images are shifted by up to an eighth and, where mirror images are of the same
            class (cifar10, fashion_mnist), mirrored.
        cutout: Side of a square that is blanked at a random place in every training image [pixel]; 0 for none.
        mixed_precision: Whether convolutions compute in half precision where that is safe (bfloat16).
        patience: Stop once the validation error has not improved for so many epochs; None never stops early.
        stop_dominated: Whether a training stops, as a failure, once even the best improvement that earlier trainings
            of the run had from this epoch on would leave it worse than a design that costs no more.
        keep_weights: Whether the weights are kept in the run folder.
        checkpoints: Whether a training that was killed goes on from its last epoch instead of from its start.
        after: A training that comes first, by what differs from these settings, such as ``{epochs: 1}``. Its weights
            are continued, by a warm restart: the schedule begins anew. If they are kept, it is not run again.
        quantization: How a network with bit widths gets its integers: ``straight_through`` rounds from the first step
            on, so that weights are trained for it; ``post_training`` trains floats and rounds what came out. Either
            way the errors are those of the quantised network.
    """

    epochs: int = Field(default=8, ge=1)
    batch_size: int = Field(default=64, ge=2)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    schedule: Literal["cosine", "linear", "step", "constant"] = "cosine"
    warm_up: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    augment: bool = False
    cutout: int = Field(default=0, ge=0)
    mixed_precision: bool = False
    patience: int | None = Field(default=None, ge=1)
    quantization: Literal["straight_through", "post_training"] = "straight_through"
    stop_dominated: bool = False
    keep_weights: bool = False
    checkpoints: bool = False
    after: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _continues(self) -> TrainSettings:
        if self.after is not None:
            before = self.before
            if before is not None and (before.width, before.depth) != (self.width, self.depth):
                raise ValueError("after: width and depth must be the same, or the weights do not fit")
        return self

    @property
    def before(self) -> TrainSettings | None:
        """The training that comes first, complete; None if there is none.

        Raises:
            ValueError: What differs is wrong.
        """
        if self.after is None:
            return None
        own = self.model_dump(exclude={"after"})
        return type(self).model_validate({**own, **self.after})

    @property
    def chain(self) -> tuple[TrainSettings, ...]:
        """All trainings of a network, the first one first."""
        return (self,) if self.before is None else (*self.before.chain, self)

    @property
    def identity(self) -> dict[str, Any]:
        """All that the figures depend on, as plain data."""
        return {**self.model_dump(mode="json", exclude={*_KEEPING, "after"})}
