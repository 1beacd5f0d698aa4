"""Trains one network: stochastic gradient descent on the training images, error counted on the others.

Runs in a process of its own (`coevo.accuracy.pool`), so that torch's global generator, from which modules draw their
weights, belongs to this training alone. On one machine's CPU the figures are the same, bit for bit, whenever and
beside whatever they are computed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from coevo.accuracy.data import Part, Split
from coevo.accuracy.images import Images, MappedImages
from coevo.accuracy.limits import is_out_of_memory, memory_limit, prepare
from coevo.accuracy.settings import TrainSettings
from coevo.accuracy.tasks import NetworkTask
from coevo.accuracy.worker import unpack
from coevo.design import Accuracy

_MOMENTUM = 0.9
_WARM_UP = 0.1
_SCORING_BATCH = 256

# The first optimiser imports torch's compiler, which takes seconds: here, in the server, and not in every task.
torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)


class DivergedError(Exception):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Trained:
    """What a training ended with.

    Attributes:
        validation_error: Share of the validation images told wrongly by the last epoch's weights, 0..1.
        test_error: The same of the test images, by the same weights.
        epochs: Epochs that ran.
    """

    validation_error: float
    test_error: float
    epochs: int


def train_task(shared: tuple[Split, TrainSettings], payload: bytes) -> Accuracy | str:
    """Trains the network of a `NetworkTask` and returns its accuracy, or why there is none.

    Raises:
        BackendError: A GPU was asked for and there is none.
    """
    split, settings = shared
    warnings.simplefilter("ignore")  # else every training of a search repeats them
    device = prepare(settings.device)
    try:
        with memory_limit(settings.memory_limit_mib, device):
            trained = _train(unpack(payload), split, settings, device)
    except DivergedError as diverged:
        return f"diverged: {diverged}"
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return f"out of memory: needs more than {settings.memory_limit_mib} MiB (memory_limit_mib)"
    share = trained.validation_error
    return Accuracy(
        error=share,
        test_error=trained.test_error,
        uncertainty=math.sqrt(share * (1 - share) / len(split.validation)),  # binomial: of counting so many images
        fidelity=f"{trained.epochs} epochs, {len(split.train)} images",
    )


def fit(module: nn.Module, split: Split, settings: TrainSettings, rng: torch.Generator) -> Trained:
    """Trains a module in place, on the device where its parameters are.

    The figures are those of the last epoch's weights, also if patience ends the training: the best of several
    epochs would be picked by the validation images and flatter them.

    Args:
        module: Input ``(batch, channel, height, width)``, normalised; output logits ``(batch, class)``.
        split: The data.
        settings: How to train.
        rng: Shuffles and augments; a generator on the CPU.

    Raises:
        DivergedError: The loss becomes infinite or NaN.
        ValueError: The module's output has another shape.
    """
    data = _Data(split, settings, next(module.parameters()).device)
    optimizer = torch.optim.SGD(
        module.parameters(), lr=0.0, momentum=_MOMENTUM, nesterov=True, weight_decay=settings.weight_decay
    )
    best, best_epoch, epoch = math.inf, 0, 0
    for epoch in range(1, settings.epochs + 1):
        loss = _train_epoch(module, optimizer, data, epoch, rng)
        if not math.isfinite(loss):
            raise DivergedError(f"the loss is {loss} in epoch {epoch} of {settings.epochs}")
        if settings.patience is not None:
            share = _error(module, data, split.validation)
            if share < best:
                best, best_epoch = share, epoch
            elif epoch - best_epoch >= settings.patience:
                break
    return Trained(_error(module, data, split.validation), _error(module, data, split.test), epoch)


def rate_at(step: int, steps: int) -> float:
    """Returns the learning rate of a step as a share of its peak: linear warm-up, then half a cosine to 0.

    Source: I. Loshchilov, F. Hutter: SGDR, ICLR 2017, eq. 5, without restarts; the warm-up after P. Goyal et al.:
    Accurate, Large Minibatch SGD, 2017, section 2.2.
    """
    warm_up = max(1, round(_WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up + 1) / (steps - warm_up + 1)))


def shift_and_mirror(images: Tensor, margin: int, mirror: bool, rng: torch.Generator) -> Tensor:
    """Shifts every image at random by up to ``margin`` pixels, zeros entering, and mirrors it or not.

    Args:
        images: ``(batch, channel, height, width)``, normalised, so that 0 is the mean.
        margin: Largest shift along height and width [pixel].
        mirror: Whether half of the images, by chance, are turned left to right.
        rng: A generator on the CPU.

    Returns:
        ``(batch, channel, height, width)``.
    """
    batch, channels, height, width = images.shape
    shifts = torch.randint(0, 2 * margin + 1, (2, batch, 1), generator=rng)
    rows, columns = shifts[0] + torch.arange(height), shifts[1] + torch.arange(width)
    if mirror:
        turned = torch.rand(batch, 1, generator=rng) < 0.5
        columns = torch.where(turned, columns.flip(1), columns)
    padded = functional.pad(images, [margin] * 4)
    return padded[
        torch.arange(batch)[:, None, None, None].to(images.device),
        torch.arange(channels)[None, :, None, None].to(images.device),
        rows[:, None, :, None].to(images.device),
        columns[:, None, None, :].to(images.device),
    ]


def _reader(images: Images | MappedImages, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Gives images on the device by their rows: mapped ones are read as they are asked for, others lie there whole."""
    if isinstance(images, MappedImages):
        return lambda rows: torch.from_numpy(images[rows.cpu().numpy()]).to(device)
    resident = torch.from_numpy(images).to(device)
    return lambda rows: resident[rows]


class _Data:
    """Training images on a device, and how they are used; normalised batch by batch, where they are needed."""

    def __init__(self, split: Split, settings: TrainSettings, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.batch = min(settings.batch_size, len(split.train))
        self.steps = len(split.train) // self.batch
        self._classes = split.task.classes
        self._images = _reader(split.train.images, device)
        self._mirrored = split.mirrored
        self._labels = torch.from_numpy(split.train.labels).to(device)
        self._mean, self._std = (torch.from_numpy(v).to(device).view(1, -1, 1, 1) for v in (split.mean, split.std))

    def normalised(self, images: Tensor) -> Tensor:
        return (images.float() - self._mean) / self._std

    def batches(self, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields (images, labels) of one epoch; the last, incomplete batch is left out."""
        order = torch.randperm(len(self._labels), generator=rng)[: self.steps * self.batch]
        for rows in order.view(self.steps, self.batch).to(self.device):
            images = self.normalised(self._images(rows))
            if self.settings.augment:
                images = shift_and_mirror(images, images.shape[-1] // 8, self._mirrored, rng)
            yield images, self._labels[rows]

    def logits(self, module: nn.Module, images: Tensor) -> Tensor:
        """Returns the module's output, of the right shape."""
        logits: Tensor = module(images)
        if logits.shape != (len(images), self._classes):
            wanted = f"(batch, class) = ({len(images)}, {self._classes})"
            raise ValueError(f"the network's output must be {wanted}, got {tuple(logits.shape)}")
        return logits


def _train(task: NetworkTask, split: Split, settings: TrainSettings, device: torch.device) -> Trained:
    family, choices, entropy, _ = task
    weights_seed, order_seed = (int(word) for word in np.random.SeedSequence(entropy).generate_state(2, np.uint64))
    torch.manual_seed(weights_seed)
    module = family.module(choices).to(device)
    return fit(module, split, settings, torch.Generator().manual_seed(order_seed))


def _train_epoch(
    module: nn.Module, optimizer: torch.optim.Optimizer, data: _Data, epoch: int, rng: torch.Generator
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
            group["lr"] = settings.learning_rate * rate_at(step, settings.epochs * data.steps)
        optimizer.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).sum())


@torch.no_grad()
def _error(module: nn.Module, data: _Data, part: Part) -> float:
    """Share of a part's images that the module tells wrongly, 0..1."""
    module.eval()
    wrong = 0
    for start in range(0, len(part), _SCORING_BATCH):
        images = torch.from_numpy(part.images[start : start + _SCORING_BATCH]).to(data.device)
        logits = data.logits(module, data.normalised(images))
        if not bool(torch.isfinite(logits).all()):
            raise DivergedError("the outputs are not finite on unseen images")
        told = logits.argmax(1).cpu().numpy()
        wrong += int((told != part.labels[start : start + _SCORING_BATCH]).sum())
    return wrong / len(part)
