"""A search whose true front is known, hardware fixed: NAS-Bench-201 on a measured device.

    python tests/benchmarks/yardstick.py FOLDER [--seeds 10] [--budget 300] [--optimizer '{name: nsga2}' ...]

Error on ImageNet16-120 after 200 epochs (NAS-Bench-201's table) against the latency measured on a Raspberry Pi 4
(HW-NAS-Bench), all 15,625 cells apart. FOLDER holds nb201_acc.csv.gz and nb201_hwnasbench.csv.gz (README, "Data").
Printed is the hypervolume of all that an optimiser asked for, as a share of the true front's, after 50, 100 and 300
cells: both objectives linear, scaled to 0..1 over all cells, reference point (1, 1); median, least and CPU time over
the seeds.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from coevo import pareto
from coevo.design import Network, Quantity
from coevo.learning.features import VIEWS, NetworkFeatures
from coevo.library import find_plugin
from coevo.networks import build_family, load_space
from coevo.networks.cell import from_digits
from coevo.protocols import NETWORK, Task
from coevo.space import Space

AT = (50, 100, 300)


class TableProblem:
    """Error and latency of every cell, looked up (socket `Problem`)."""

    objectives = (Quantity("error", "%"), Quantity("latency", "ms"))

    def __init__(self, folder: Path, error: str = "in16_test200", latency: str = "raspi4_latency_ms") -> None:
        self.family = build_family(load_space("nasbench201"), Task(3, 32, 120))
        self.space = Space(tuple(replace(gene, name=NETWORK + gene.name) for gene in self.family.genes))
        rows = _read(folder / "nb201_acc.csv.gz")
        costs = {row["idx"]: float(row[latency]) for row in _read(folder / "nb201_hwnasbench.csv.gz")}
        self.table = {self._genome(row["ops"]): (100 - float(row[error]), costs[row["idx"]]) for row in rows}
        self.points = np.array(list(self.table.values()))
        self._features = NetworkFeatures(self.family, 0)
        self.views = tuple(VIEWS)

    def hardware(self, genomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, violation = self.evaluate(genomes)
        values[:, 0] = np.nan
        return values, violation

    def evaluate(self, genomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = [self.table[tuple(genome)] for genome in genomes.tolist()]
        return np.array(values, dtype=np.float64).reshape(-1, 2), np.zeros(len(genomes))

    def features(self, genomes: np.ndarray, views: Sequence[Any]) -> list[Any]:
        choices = [self.space.decode(genome) for genome in genomes]
        networks = [Network("nasbench201", {k.removeprefix(NETWORK): v for k, v in c.items()}) for c in choices]
        return self._features.of(networks, views)

    def _genome(self, digits: str) -> tuple[int, ...]:
        return tuple(self.space.encode({NETWORK + k: v for k, v in from_digits(digits).items()}).tolist())


def _read(file: Path) -> list[dict[str, str]]:
    with gzip.open(file, "rt", newline="") as lines:
        return list(csv.DictReader(lines))


def quality(problem: TableProblem, section: dict[str, Any], seed: int, budget: int) -> tuple[list[float], float]:
    """Share of the true hypervolume after `AT` cells, and CPU seconds."""
    plugin = find_plugin("optim", section["name"])
    settings = plugin.Settings(**{key: value for key, value in section.items() if key != "name"})
    optimizer = plugin(problem, settings, np.random.default_rng(seed))
    found: list[np.ndarray] = []
    began = time.process_time()
    while sum(map(len, found)) < budget:
        genomes = optimizer.ask()
        values, violation = problem.evaluate(genomes)
        optimizer.tell(genomes, values, violation)
        found.append(values)
    seconds = time.process_time() - began
    low, span = problem.points.min(axis=0), np.ptp(problem.points, axis=0)
    true = pareto.hypervolume((problem.points - low) / span, [1, 1])
    points = (np.concatenate(found) - low) / span
    return [pareto.hypervolume(points[:count], [1, 1]) / true for count in AT if count <= budget], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--optimizer", nargs="*", default=["{name: nsga2, log_costs: false}"])
    parser.add_argument("--error", default="in16_test200")
    parser.add_argument("--latency", default="raspi4_latency_ms")
    given = parser.parse_args()
    problem = TableProblem(given.folder, given.error, given.latency)
    for text in given.optimizer:
        section = yaml.safe_load(text)
        seeds = range(given.first, given.first + given.seeds)
        runs = [quality(problem, section, seed, given.budget) for seed in seeds]
        shares = np.array([shares for shares, _ in runs])
        seconds = np.median([seconds for _, seconds in runs])
        print(text)
        for count, median, least in zip(AT, np.median(shares, axis=0), shares.min(axis=0), strict=False):
            print(f"  {count:4d} cells: median {median:.4f}, least {least:.4f}")
        print(f"  {seconds:.1f} CPU-s a run", flush=True)


if __name__ == "__main__":
    main()
