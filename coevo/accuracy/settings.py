"""What an experiment may say about data, limits and proxy training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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


class TrainSettings(DataSettings, LimitSettings):
    """Settings of `coevo.accuracy.train`: the data, limits, and how each network is trained.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step; the last, incomplete batch of an epoch is left out.
        learning_rate: Its peak, reached after a short linear warm-up; then it follows half a cosine to 0.
        weight_decay: Of stochastic gradient descent.
        label_smoothing: Share of the label spread over all classes.
        augment: Whether training images are shifted by up to an eighth and, where mirror images are of the same
            class (cifar10, fashion_mnist), mirrored.
        patience: Stop once the validation error has not improved for so many epochs; None never stops early.
    """

    epochs: int = Field(default=8, ge=1)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    augment: bool = False
    patience: int | None = Field(default=None, ge=1)
