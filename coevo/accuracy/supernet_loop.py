"""Trains shared weights and scores networks that inherit them, each in a process of its own (`coevo.processes.pool`).

After every epoch all that the next one needs is written beside the file to come, so that a training that was stopped
goes on from there, and on one machine's CPU ends with the same weights, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from coevo.accuracy.augmentation import rate_at
from coevo.accuracy.data import Part, Split
from coevo.accuracy.limits import within_limits
from coevo.accuracy.loop import MOMENTUM, SCORING_BATCH, DivergedError, Images, error_of
from coevo.accuracy.settings import TrainSettings
from coevo.accuracy.shared_tensors import inherited, load, logits_of, new_tensors, save
from coevo.accuracy.shared_weights import Choices, GraphFamily, Sampler, shared_shapes
from coevo.accuracy.supernet import SupernetSettings
from coevo.design import Accuracy
from coevo.networks.graph import Graph
from coevo.processes.worker import unpack
from coevo.space import Space

_OPTIMIZER = "momentum of "


@dataclass
class Training:
    """Shared weights under training.

    Attributes:
        tensors: The weights by name.
        optimizer: Theirs.
        epochs: Epochs that are done.
        seconds: What they took.
        loss: Mean loss of the last one's steps.
    """

    tensors: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    epochs: int = 0
    seconds: float = 0.0
    loss: float = math.nan


def train_task(shared: tuple[Split, SupernetSettings], payload: bytes) -> float | str:
    """Trains the shared weights of a family's space into a file; the payload's extra is the file and a seed.

    Returns:
        The mean loss of the last epoch, or why there are no weights.

    Raises:
        BackendError: A GPU was asked for and there is none.
    """
    split, settings = shared
    family, _, _, (file, seed) = unpack(payload)
    return within_limits(
        settings.device,
        settings.memory_limit_mib,
        lambda device: train(family, split, settings, seed, Path(file), device),
    )


def score_task(shared: tuple[Split, SupernetSettings], payload: bytes) -> Accuracy | str:
    """Scores a network with its part of the shared weights; the payload's extra is the file that holds them.

    Raises:
        BackendError: A GPU was asked for and there is none.
    """
    split, settings = shared
    family, choices, _, file = unpack(payload)
    return within_limits(
        settings.device,
        settings.memory_limit_mib,
        lambda device: score(family, choices, split, settings, Path(file), device),
    )


def train(
    family: GraphFamily, split: Split, settings: SupernetSettings, seed: int, file: Path, device: torch.device
) -> float:
    """Trains shared weights into a file, going on from what a stopped training left beside it.

    Returns:
        Mean loss of the last epoch's steps.

    Raises:
        DivergedError: The loss becomes infinite or NaN.
    """
    data = Images(split, _train_settings(settings), device)
    unfinished = file.with_suffix(".unfinished")
    training = _begin(family, settings, seed, unfinished, device)
    for epoch in range(training.epochs + 1, settings.epochs + 1):
        began = time.perf_counter()
        training.loss = _train_epoch(training, family, data, settings, epoch, seed)
        if not math.isfinite(training.loss):
            raise DivergedError(f"diverged: the loss is {training.loss} in epoch {epoch} of {settings.epochs}")
        training.epochs = epoch
        training.seconds += time.perf_counter() - began
        save(unfinished, {**training.tensors, **_momentum(training)}, _facts(training))
    save(file, training.tensors, _facts(training))
    unfinished.unlink(missing_ok=True)  # another run may train the same beside this one, and be done first
    return training.loss


def score(
    family: GraphFamily, choices: Choices, split: Split, settings: SupernetSettings, file: Path, device: torch.device
) -> Accuracy:
    """Returns the accuracy of a network with inherited weights.

    Raises:
        DivergedError: Its outputs are not finite.
    """
    module, data = recalibrated(family.graph(choices), split, settings, file, device)
    share = error_of(module, data, split.validation)
    return Accuracy(
        error=share,
        test_error=error_of(module, data, split.test),
        uncertainty=math.sqrt(share * (1 - share) / len(split.validation)),  # binomial: of counting so many images
        fidelity=", ".join([f"supernet, {settings.epochs} epochs", f"{len(split.train)} images", *settings.reductions]),
    )


def recalibrated(
    graph: Graph, split: Split, settings: SupernetSettings, file: Path, device: torch.device | str
) -> tuple[nn.Module, Images]:
    """Returns a network with its parts of the shared weights and its own statistics, and the data as it sees them."""
    data = Images(split, _train_settings(settings), torch.device(device))
    module = inherited(graph, file).to(device)
    recalibrate(module, data, split.train, settings.calibration_images)
    return module, data


@torch.no_grad()
def recalibrate(module: nn.Module, data: Images, part: Part, images: int) -> None:
    """Sets batch norms' statistics to the average over batches of a part's first images.

    Source: J. Yu, T. Huang: Universally Slimmable Networks, ICCV 2019, section 3.3.
    """
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the plain average of all batches
    module.train()
    shown = part.images[:images]
    for batch in np.array_split(shown, -(-len(shown) // SCORING_BATCH)):  # alike in size: one image has no variance
        module(data.normalised(torch.from_numpy(batch).to(data.device)))


def _train_settings(settings: SupernetSettings) -> TrainSettings:
    """What the data need to know of a training."""
    return TrainSettings(**settings.model_dump(include=set(TrainSettings.model_fields)))


def _begin(
    family: GraphFamily, settings: SupernetSettings, seed: int, unfinished: Path, device: torch.device
) -> Training:
    """A training from the start, or from the last epoch that a stopped one wrote."""
    if unfinished.is_file():
        saved, facts = load(unfinished)
        tensors = {name: tensor for name, tensor in saved.items() if not name.startswith(_OPTIMIZER)}
    else:
        saved, facts = {}, {"epochs": "0", "seconds": "0", "loss": "nan"}
        tensors = new_tensors(shared_shapes(family), torch.Generator().manual_seed(_words(seed, 0)[0]))
    tensors = {name: tensor.to(device).requires_grad_() for name, tensor in tensors.items()}
    optimizer = torch.optim.SGD(
        tensors.values(), lr=0.0, momentum=MOMENTUM, nesterov=True, weight_decay=settings.weight_decay
    )
    for name, tensor in tensors.items():
        if _OPTIMIZER + name in saved:
            optimizer.state[tensor]["momentum_buffer"] = saved[_OPTIMIZER + name].to(device)
    return Training(tensors, optimizer, int(facts["epochs"]), float(facts["seconds"]), float(facts["loss"]))


def _train_epoch(
    training: Training, family: GraphFamily, data: Images, settings: SupernetSettings, epoch: int, seed: int
) -> float:
    """Runs the epoch of that number, from 1, and returns the mean loss of its steps."""
    order_seed, networks_seed = _words(seed, epoch)
    space = Space(family.genes)
    sampler = Sampler(space, np.random.default_rng(networks_seed))
    ordered = bool(space.ordered.any())
    sandwich = settings.rule == "sandwich" or (settings.rule == "auto" and ordered)
    order = torch.Generator().manual_seed(order_seed)
    losses: list[Tensor] = []
    for step, (images, labels) in enumerate(data.batches(order), start=(epoch - 1) * data.steps):
        training.optimizer.zero_grad()
        for group in training.optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate_at(step, settings.epochs * data.steps, data.settings)

        def logits(choices: Choices, images: Tensor = images) -> Tensor:
            return logits_of(family.graph(choices), training.tensors, images)

        if sandwich:
            losses.append(_sandwich(logits, labels, sampler, settings.random_networks))
        else:
            losses.append(_backward(functional.cross_entropy(logits(sampler.uniform()), labels)))
        training.optimizer.step()
    return float(torch.stack(losses).mean())


def _sandwich(logits: Callable[[Choices], Tensor], labels: Tensor, sampler: Sampler, random_networks: int) -> Tensor:
    """Sums the gradients of the largest network, and of the smallest and some others, which learn its outputs.

    Source: the sandwich rule and in-place distillation of J. Yu, T. Huang: Universally Slimmable Networks, ICCV 2019,
    algorithm 1.

    Returns:
        The largest network's loss.
    """
    outputs = logits(sampler.largest())
    loss = _backward(functional.cross_entropy(outputs, labels))
    taught = outputs.detach().softmax(1)
    for choices in (sampler.smallest(), *(sampler.uniform() for _ in range(random_networks))):
        _backward(functional.cross_entropy(logits(choices), taught))
    return loss


def _backward(loss: Tensor) -> Tensor:
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _momentum(training: Training) -> dict[str, Tensor]:
    """The optimiser's memory of each tensor that it has moved yet."""
    state = training.optimizer.state
    return {_OPTIMIZER + n: state[t]["momentum_buffer"] for n, t in training.tensors.items() if state.get(t)}


def _facts(training: Training) -> dict[str, str]:
    return {"epochs": str(training.epochs), "seconds": repr(training.seconds), "loss": repr(training.loss)}


def _words(seed: int, epoch: int) -> tuple[int, int]:
    """Two seeds for an epoch; epoch 0 is the drawing of the weights."""
    first, second = np.random.SeedSequence((seed, epoch)).generate_state(2, np.uint64)
    return int(first), int(second)
