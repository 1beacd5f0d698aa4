"""Does a supernet rank networks as trainings of their own do? Prints rank correlations and what they cost.

    python tests/benchmarks/supernet_ranking.py cell nb201_acc.csv.gz [WEIGHTS_FOLDER]
    python tests/benchmarks/supernet_ranking.py mbconv [WEIGHTS_FOLDER]

Both need CIFAR-10 (COEVO_DATA). ``cell``: 100 random cells of NAS-Bench-201 whose output some input reaches, in a
skeleton of 8 channels and one cell a stage, against the table's test accuracy after 200 epochs (columns ``ops``,
``c10_test200``, ``flops_M`` and ``naswot_v1``, empty for cells that no input reaches). ``mbconv``: 12 networks of
cifar10_mbconv, after 12 epochs of the supernet on 3,000 images, against 4 epochs of their own on the same images.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr

from coevo.accuracy.supernet import SupernetAccuracy, SupernetSettings
from coevo.accuracy.train import TrainedAccuracy, TrainSettings
from coevo.design import Network
from coevo.networks import build_family, load_space
from coevo.networks.cell import Cell, CellSettings, from_digits
from coevo.protocols import NetworkFamily, Task
from coevo.space import Space

CIFAR10 = Task(channels=3, resolution=32, classes=10)


def cells(table: str, folder: str) -> None:
    """Ranks cells against the published accuracies."""
    import pandas as pd

    rows = pd.read_csv(table, dtype={"ops": str})
    rows = rows[rows.naswot_v1.notna()]
    rows = rows.iloc[np.random.default_rng(0).choice(len(rows), 100, replace=False)]
    settings = {"epochs": 40, "augment": True, "train_images": 10000, "validation_images": 5000, "test_images": 1000}
    networks = [Network("cell", from_digits(digits)) for digits in rows.ops]
    errors = _supernet(Cell(CellSettings(channels=8, cells=1), CIFAR10), networks, settings, folder)
    truth = -rows.c10_test200.to_numpy()
    _print("supernet against the table", errors, truth)
    _print("multiply-accumulates against the table", -rows.flops_M.to_numpy(), truth)


def mbconvs(folder: str) -> None:
    """Ranks networks of cifar10_mbconv against their own trainings."""
    family = build_family(load_space("cifar10_mbconv"), CIFAR10)
    space = Space(family.genes)
    networks = [Network("mbconv", space.decode(row)) for row in space.sample(np.random.default_rng(3), 12)]
    settings = {"train_images": 3000, "validation_images": 2000, "test_images": 500}
    errors = _supernet(family, networks, {**settings, "epochs": 12, "batch_size": 32}, folder)
    before = _cpu_seconds()
    with closing(TrainedAccuracy(TrainSettings(data="cifar10", device="cpu", epochs=4, **settings))) as model:
        scores = dict(model.score(family, networks, seed=0))
    print(f"own trainings: {_cpu_seconds() - before:.0f} CPU s")
    _print("supernet against own trainings", errors, np.array([scores[i].error for i in range(len(networks))]))


def _supernet(
    family: NetworkFamily, networks: Sequence[Network], settings: dict[str, Any], folder: str
) -> np.ndarray[Any, Any]:
    before = _cpu_seconds()
    own = SupernetSettings(data="cifar10", device="cpu", weights_folder=folder, **settings)
    with closing(SupernetAccuracy(own)) as model:
        scores = dict(model.score(family, networks, seed=0))
    errors = np.array([scores[i].error for i in range(len(networks))])
    print(f"supernet: {_cpu_seconds() - before:.0f} CPU s in all, training {model.setup_seconds:.0f} s on the clock")
    print(f"inherited errors {errors.min():.3f} to {errors.max():.3f}")
    return errors


def _print(what: str, scores: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> None:
    spearman, kendall = spearmanr(scores, truth)[0], kendalltau(scores, truth)[0]
    print(f"{what}: Spearman {spearman:.3f}, Kendall {kendall:.3f}, {len(truth)} networks")


def _cpu_seconds() -> float:
    """CPU time of this process and of those that ended [s]."""
    return sum(resource.getrusage(who).ru_utime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


if __name__ == "__main__":
    if sys.argv[1] == "cell":
        cells(sys.argv[2], "".join(sys.argv[3:]))
    else:
        mbconvs("".join(sys.argv[2:]))
