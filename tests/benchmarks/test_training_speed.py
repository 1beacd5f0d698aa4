"""How fast are networks trained? Images per second, and as a ratio to a plain torch loop in the same run.

    pytest -s tests/benchmarks/test_training_speed.py --benchmark-only

The peer is what one would write by hand: a ``Dataset`` that normalises, shifts and mirrors an image at a time, a
``DataLoader``, and the same network, optimiser, batches and schedule. One thread, no GPU.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from coevo.accuracy.augmentation import rate_at
from coevo.accuracy.data import Part, Split
from coevo.accuracy.loop import MOMENTUM, Images, _train_epoch
from coevo.accuracy.settings import TrainSettings
from coevo.networks import build_family, load_space
from coevo.networks.cell import from_digits
from coevo.protocols import Task
from coevo.space import Space

IMAGES = 1024
TASK = Task(3, 32, 10)
SETTINGS = TrainSettings(epochs=1, augment=True)
ROUNDS = 5


class Plain(Dataset):
    """Images one by one, as in many a tutorial."""

    def __init__(self, split: Split) -> None:
        self.images = torch.from_numpy(split.train.images)
        self.labels = torch.from_numpy(split.train.labels)
        self.mean, self.std = (torch.from_numpy(v).view(-1, 1, 1) for v in (split.mean, split.std))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        image = (self.images[i].float() - self.mean) / self.std
        padded = functional.pad(image, [4] * 4)
        row, column = torch.randint(0, 9, (2,)).tolist()
        image = padded[:, row : row + 32, column : column + 32]
        return (image.flip(2) if torch.rand(1) < 0.5 else image), self.labels[i]


def images() -> Split:
    rng = np.random.default_rng(0)

    def part(count: int) -> Part:
        return Part(rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, count))

    ones = np.ones(3, dtype=np.float32)
    return Split(TASK, part(IMAGES), part(8), part(8), 127 * ones, 60 * ones)


def mbconv() -> nn.Module:
    family = build_family(load_space("cifar10_mbconv"), TASK)
    space = Space(tuple(family.genes))
    return family.module(space.decode(space.sample(np.random.default_rng(0), 1)[0]))


def cell() -> nn.Module:
    return build_family(load_space("nasbench201"), TASK).module(from_digits("130112"))


def ours(module: nn.Module, split: Split) -> None:
    data = Images(split, SETTINGS, torch.device("cpu"))
    _train_epoch(module, optimizer(module), data, 1, torch.Generator().manual_seed(0))


def plain(module: nn.Module, split: Split) -> None:
    loader = DataLoader(Plain(split), batch_size=SETTINGS.batch_size, shuffle=True, drop_last=True)
    module.train()
    sgd = optimizer(module)
    for step, (batch, labels) in enumerate(loader):
        for group in sgd.param_groups:
            group["lr"] = SETTINGS.learning_rate * rate_at(step, len(loader), SETTINGS)
        sgd.zero_grad()
        functional.cross_entropy(module(batch), labels).backward()
        sgd.step()


def optimizer(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.0, momentum=MOMENTUM, nesterov=True, weight_decay=5e-4)


@pytest.mark.parametrize("network", [mbconv, cell])
def test_images_per_second_beside_a_plain_torch_loop(benchmark, network: Callable[[], nn.Module]) -> None:
    torch.set_num_threads(1)
    split, module = images(), network()
    ours(module, split)  # warm
    ratios, speeds = [], []

    def both() -> None:
        seconds = []
        for loop in (ours, plain):
            start = time.process_time()
            loop(module, split)
            seconds.append(time.process_time() - start)
        speeds.append(IMAGES / seconds[0])
        ratios.append(seconds[1] / seconds[0])

    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    benchmark.extra_info["images_per_cpu_second"] = statistics.median(speeds)
    benchmark.extra_info["times_the_plain_loop"] = statistics.median(ratios)
    print(
        f"\n{network.__name__}: {statistics.median(speeds):.0f} images a CPU-second, "
        f"{statistics.median(ratios):.2f} x plain"
    )
