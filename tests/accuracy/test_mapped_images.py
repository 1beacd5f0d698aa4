"""Trainings on images that stay on the disk: the same figures, and no copy in any process."""

from __future__ import annotations

import contextlib
import pickle
import sys
import textwrap
from pathlib import Path

import pytest
from tiny_family import TinyFamily, TinySettings
from torch import Tensor, nn

from coevo.accuracy.data import load_split
from coevo.accuracy.train import plugin
from coevo.design import Accuracy, Network
from coevo.protocols import Task

IMAGES = 400
SIZE = 512
"""400 images of 512 x 512 are 100 MiB."""

DATA = f"""
import numpy as np

class Noise:
    def __init__(self, n, seed):
        self.n, self.seed = n, seed
    def __len__(self):
        return self.n
    def __getitem__(self, i):
        rng = np.random.default_rng([self.seed, i])
        return rng.integers(0, 64 + 96 * (i % 2), ({SIZE}, {SIZE}), dtype=np.uint8), i % 2

def make_data():
    return Noise({IMAGES + 16}, 0), Noise(16, 1)
"""


class Watching(nn.Module):
    """Shrinks images and notes the memory that its process and the server have for themselves."""

    def __init__(self, journal: str) -> None:
        super().__init__()
        self.journal = journal

    def forward(self, images: Tensor) -> Tensor:
        import os

        own, server = (_private(f"/proc/{process}/status") for process in ("self", os.getppid()))
        with open(self.journal, "a") as file:
            file.write(f"{own} {server}\n")
        return nn.functional.avg_pool2d(images, 64)


def _private(status: str) -> int:
    """Memory that is no file's [byte]."""
    with open(status) as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon:"))


class WatchingFamily(TinyFamily):
    journal = ""

    def module(self, choices: object) -> nn.Module:
        return nn.Sequential(Watching(self.journal), super().module(choices))  # type: ignore[arg-type]


def _train(journal: Path) -> tuple[Accuracy, int, int]:
    """The accuracy, and the most private memory of the training and of the server [byte]."""
    family = WatchingFamily(TinySettings(), Task(1, SIZE, 2))
    family.journal = str(journal)
    settings = plugin.Settings(data="mine.py:make_data", validation_images=16, epochs=1, batch_size=8, device="cpu")
    with contextlib.closing(plugin(settings)) as model:
        ((_, accuracy),) = model.score(family, [Network("tiny", {"depth": 1})], seed=0)
    own, server = zip(*(map(int, line.split()) for line in journal.read_text().splitlines()), strict=True)
    return accuracy, max(own), max(server)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the memory of a process")
def test_mapped_images_give_the_same_figures_and_take_no_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COEVO_CACHE", str(tmp_path / "kept"))
    Path("mine.py").write_text(textwrap.dedent(DATA))
    resident, own, server = _train(tmp_path / "resident")
    monkeypatch.setattr("coevo.accuracy.images.IN_MEMORY_BYTES", 0)
    mapped, own_mapped, server_mapped = _train(tmp_path / "mapped")
    assert (mapped.error, mapped.test_error, mapped.reason) == (resident.error, resident.test_error, "")
    everything = IMAGES * SIZE * SIZE
    assert server - server_mapped > 0.9 * everything
    assert own - own_mapped > 0.5 * everything  # the rest of a training's memory varies by a fifth of that
    split = load_split(plugin.Settings(data="mine.py:make_data", validation_images=16))
    assert len(pickle.dumps(split)) < 20_000
