"""Trains one network: stochastic gradient descent on the training images, error counted on the others.

Runs in a process of its own (`coevo.processes.pool`), so that torch's global generator, from which modules draw their
weights, belongs to this training alone. On one machine's CPU the figures are the same, bit for bit, whenever and
beside whatever they are computed.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from coevo.accuracy import checkpoint
from coevo.accuracy.augmentation import cut_out, rate_at, shift_and_mirror
from coevo.accuracy.data import Part, Split
from coevo.accuracy.images import MappedImages
from coevo.accuracy.limits import FruitlessError, within_limits
from coevo.accuracy.settings import TrainSettings
from coevo.accuracy.tasks import NetworkTask
from coevo.design import Accuracy
from coevo.networks.narrow import reduced
from coevo.networks.quantised import calibrate, set_quantisation
from coevo.processes.worker import unpack

MOMENTUM = 0.9
SCORING_BATCH = 256
_CALIBRATION_BATCHES = 10

# The first optimiser imports torch's compiler, which takes seconds: here, in the server, and not in every task.
torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)


class DivergedError(FruitlessError):
    """The loss is no longer a number."""


class StoppedError(FruitlessError):
    """The training cannot become worth its while."""


@dataclass(frozen=True)
class Plan:
    """What a training is told beside its settings.

    Attributes:
        files: Where the weights after each training of `TrainSettings.chain` are, or are to be; empty for nowhere.
        checkpoint: Where the last epoch's state is kept meanwhile; empty for nowhere.
        parent: Weights to begin with; empty for none.
        overlap: Whether the parent's weights are used in part where shapes differ.
        target: Error that the network must be able to get below, 0..1; infinite for none.
        gains: Least ratio of final error to error after each epoch that trainings of the run had ``(epoch,)``.
    """

    files: tuple[str, ...] = ()
    checkpoint: str = ""
    parent: str = ""
    overlap: bool = True
    target: float = math.inf
    gains: tuple[float, ...] = ()


@dataclass(frozen=True)
class Trained:
    """What a training ended with.

    Attributes:
        validation_error: Share of the validation images told wrongly by the last epoch's weights, 0..1.
        test_error: The same of the test images, by the same weights.
        epochs: Epochs that ran.
        curve: Validation error after each epoch, as far as anyone asked for it.
    """

    validation_error: float
    test_error: float
    epochs: int
    curve: tuple[float, ...] = ()


def train_task(shared: Sequence[tuple[Split, TrainSettings]], payload: bytes) -> Accuracy | str:
    """Trains the network of a `NetworkTask` and returns its accuracy, or why there is none.

    Args:
        shared: The trainings, one after the other, each with its data.
        payload: The task; what it adds is a `Plan`.

    Raises:
        BackendError: A GPU was asked for and there is none.
    """
    split, settings = shared[-1]
    task = unpack(payload)
    trained = within_limits(settings.device, settings.memory_limit_mib, lambda device: _train(task, shared, device))
    if isinstance(trained, str):
        return trained
    share = trained.validation_error
    return Accuracy(
        error=share,
        test_error=trained.test_error,
        uncertainty=math.sqrt(share * (1 - share) / len(split.validation)),  # binomial: of counting so many images
        fidelity=_fidelity([s for _, s in shared], trained.epochs, len(split.train)),
        curve=trained.curve,
    )


def fit(
    module: nn.Module,
    split: Split,
    settings: TrainSettings,
    rng: torch.Generator,
    plan: Plan | None = None,
) -> Trained:
    """Trains a module in place, on the device where its parameters are.

    The figures are those of the last epoch's weights, also if patience ends the training: the best of several
    epochs would be picked by the validation images and flatter them.

    Args:
        module: Input ``(batch, channel, height, width)``, normalised; output logits ``(batch, class)``.
        split: The data.
        settings: How to train.
        rng: Shuffles and augments; a generator on the CPU.
        plan: Where to keep the state of the last epoch, and when to give up.

    Raises:
        DivergedError: The loss becomes infinite or NaN.
        StoppedError: The plan's target cannot be met.
        ValueError: The module's output has another shape.
    """
    plan = plan or Plan()
    data = Images(split, settings, next(module.parameters()).device)
    optimizer = _optimizer(module, settings)
    set_quantisation(module, settings.quantization == "straight_through")
    begun, curve = _resume(plan.checkpoint, module, optimizer, rng)
    epoch = begun
    for epoch in range(begun + 1, settings.epochs + 1):
        loss = _train_epoch(module, optimizer, data, epoch, rng)
        if not math.isfinite(loss):
            raise DivergedError(f"diverged: the loss is {loss} in epoch {epoch} of {settings.epochs}")
        if settings.patience is not None or settings.stop_dominated:
            curve.append(error_of(module, data, split.validation))
            _stop_if_dominated(curve, plan, settings)
            if settings.patience is not None and epoch - 1 - int(np.argmin(curve)) >= settings.patience:
                break
        if plan.checkpoint and epoch < settings.epochs:
            _keep(Path(plan.checkpoint), module, optimizer, rng, epoch, curve)
    if settings.quantization == "post_training":
        calibrate(module, (images for images, _ in islice(data.batches(rng), _CALIBRATION_BATCHES)))
        curve.clear()  # of the network in floats
    validation = curve[-1] if len(curve) == epoch else error_of(module, data, split.validation)
    trained = Trained(validation, error_of(module, data, split.test), epoch, tuple(curve))
    if plan.checkpoint:
        Path(plan.checkpoint).unlink(missing_ok=True)
    return trained


def _reader(part: Part, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Gives images on the device by their rows: mapped ones are read as they are asked for, others lie there whole."""
    images = part.images
    if isinstance(images, MappedImages):
        return lambda rows: torch.from_numpy(images[rows.cpu().numpy()]).to(device)
    resident = torch.from_numpy(images).to(device)
    return lambda rows: resident[rows]


class Images:
    """Training images on a device, and how they are used; normalised batch by batch, where they are needed."""

    def __init__(self, split: Split, settings: TrainSettings, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.batch = min(settings.batch_size, len(split.train))
        self.steps = len(split.train) // self.batch
        self._classes = split.task.classes
        self._images = _reader(split.train, device)
        self._mirrored = split.mirrored
        self._labels = torch.from_numpy(split.train.labels).to(device)
        self._mean, self._std = (torch.from_numpy(v).to(device).view(1, -1, 1, 1) for v in (split.mean, split.std))

    def normalised(self, images: Tensor) -> Tensor:
        """Returns images ``(batch, channel, height, width)`` of mean 0 and standard deviation 1."""
        return (images.float() - self._mean) / self._std

    def batches(self, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields (images, labels) of one epoch; the last, incomplete batch is left out."""
        order = torch.randperm(len(self._labels), generator=rng)[: self.steps * self.batch]
        for rows in order.view(self.steps, self.batch).to(self.device):
            images = self.normalised(self._images(rows))
            if self.settings.augment:
                images = shift_and_mirror(images, images.shape[-1] // 8, self._mirrored, rng)
            if self.settings.cutout:
                images = cut_out(images, self.settings.cutout, rng)
            yield images, self._labels[rows]

    def logits(self, module: nn.Module, images: Tensor) -> Tensor:
        """Returns the module's output, of the right shape."""
        mixed = torch.autocast(self.device.type, torch.bfloat16) if self.settings.mixed_precision else None
        with mixed or contextlib.nullcontext():
            logits: Tensor = module(images)
        if logits.shape != (len(images), self._classes):
            wanted = f"(batch, class) = ({len(images)}, {self._classes})"
            raise ValueError(f"the network's output must be {wanted}, got {tuple(logits.shape)}")
        return logits.float()


@torch.no_grad()
def error_of(module: nn.Module, data: Images, part: Part) -> float:
    """Returns the share of a part's images that the module tells wrongly, 0..1.

    Raises:
        DivergedError: An output is not finite.
    """
    module.eval()
    wrong = 0
    for start in range(0, len(part), SCORING_BATCH):
        images = torch.from_numpy(part.images[start : start + SCORING_BATCH]).to(data.device)
        logits = data.logits(module, data.normalised(images))
        if not bool(torch.isfinite(logits).all()):
            raise DivergedError("diverged: the outputs are not finite on unseen images")
        told = logits.argmax(1).cpu().numpy()
        wrong += int((told != part.labels[start : start + SCORING_BATCH]).sum())
    return wrong / len(part)


def _train(task: NetworkTask, shared: Sequence[tuple[Split, TrainSettings]], device: torch.device) -> Trained:
    """Runs the trainings of the chain that are not kept yet, one after the other."""
    family, choices, entropy, extra = task
    plan = extra or Plan()
    kept = [checkpoint.read(Path(file)) if file else None for file in plan.files] or [None] * len(shared)
    weights_seed, order_seed = _seeds(entropy)
    torch.manual_seed(weights_seed)
    first = 0
    families = [reduced(family, split.task, **settings.reduction) for split, settings in shared]
    module = families[0].module(choices).to(device)
    if plan.parent:
        parent = checkpoint.read(Path(plan.parent))
        if parent is None:
            raise FileNotFoundError(f"the parent's weights {plan.parent} are gone or damaged; put them back")
        checkpoint.inherit(module, parent[0], plan.overlap)
    for i in reversed(range(len(shared) - 1)):
        found = kept[i]
        if found is not None and checkpoint.load(module, found[0]):
            module = _moved(module, families[i].module(choices).to(device))
            first = i + 1
            break
    trained = Trained(1.0, 1.0, 0)
    for i in range(first, len(shared)):
        split, settings = shared[i]
        if i > 0:
            weights_seed, order_seed = _seeds((*entropy, i))
            torch.manual_seed(weights_seed)  # layers that draw, dropout say
            if settings.resolution != shared[i - 1][1].resolution:
                module = _moved(module, families[i].module(choices).to(device))
        last = i == len(shared) - 1
        rng = torch.Generator().manual_seed(order_seed)
        trained = fit(module, split, settings, rng, plan if last else None)
        if plan.files and plan.files[i]:
            checkpoint.save(Path(plan.files[i]), module)
    return trained


def _moved(module: nn.Module, other: nn.Module) -> nn.Module:
    """Returns ``other``, the same network at another resolution, with the module's weights."""
    other.load_state_dict(module.state_dict())
    return other


def _seeds(entropy: Sequence[int]) -> tuple[int, int]:
    """Seeds of the weights, and of the images' order."""
    one, two = np.random.SeedSequence(entropy).generate_state(2, np.uint64)
    return int(one), int(two)


def _optimizer(module: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    decay = settings.weight_decay
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(module.parameters(), lr=0.0, weight_decay=decay, foreach=True)
    parameters = module.parameters()  # foreach: all tensors at once, which takes half the time
    return torch.optim.SGD(parameters, lr=0.0, momentum=MOMENTUM, nesterov=True, weight_decay=decay, foreach=True)


def _train_epoch(
    module: nn.Module, optimizer: torch.optim.Optimizer, data: Images, epoch: int, rng: torch.Generator
) -> float:
    """Runs the epoch of that number, from 1, and returns the loss summed over its steps."""
    settings = data.settings
    module.train()
    losses: list[Tensor] = []  # read at the end: asking for each would stall a GPU
    for step, (images, labels) in enumerate(data.batches(rng), start=(epoch - 1) * data.steps):
        loss = functional.cross_entropy(data.logits(module, images), labels, label_smoothing=settings.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate_at(step, settings.epochs * data.steps, settings)
        optimizer.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).sum())


def _stop_if_dominated(curve: Sequence[float], plan: Plan, settings: TrainSettings) -> None:
    """Gives up where even the best improvement seen from this epoch on would not be enough."""
    epoch = len(curve)
    if not settings.stop_dominated or epoch >= settings.epochs or len(plan.gains) < epoch:
        return
    best = curve[-1] * plan.gains[epoch - 1]
    if best > plan.target:
        raise StoppedError(
            f"stopped after {epoch} of {settings.epochs} epochs: an error of {curve[-1]:.3g} may become {best:.3g}, "
            f"and a design that costs no more has {plan.target:.3g}"
        )


def _keep(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    rng: torch.Generator,
    epoch: int,
    curve: Sequence[float],
) -> None:
    """Writes the state after an epoch."""
    more = {
        "order": rng.get_state(),
        "layers": torch.get_rng_state(),
        "curve": torch.tensor(curve, dtype=torch.float64),
    }
    checkpoint.save(path, module, optimizer, more, {"epoch": str(epoch)})


def _resume(
    path: str, module: nn.Module, optimizer: torch.optim.Optimizer, rng: torch.Generator
) -> tuple[int, list[float]]:
    """Puts the state of a training that was killed back; returns how many epochs it had run, and their errors."""
    found = checkpoint.read(Path(path)) if path else None
    if found is None or not checkpoint.load(module, found[0], optimizer):
        return 0, []
    rng.set_state(found[0]["order"])
    torch.set_rng_state(found[0]["layers"])
    return int(found[1]["epoch"]), found[0]["curve"].tolist()


def _fidelity(chain: Sequence[TrainSettings], epochs: int, images: int) -> str:
    """What kind of figure it is: ``1 + 4 epochs, 6000 images, resolution x 0.5``."""
    counts = " + ".join([*(str(before.epochs) for before in chain[:-1]), str(epochs)])
    return ", ".join([f"{counts} epochs", f"{images} images", *chain[-1].reductions])
