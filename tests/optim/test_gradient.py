from __future__ import annotations

import numpy as np

from coevo import pareto
from coevo.optim.gradient import Gradient, GradientSettings, descend
from coevo.optim.random import RandomSearch, RandomSettings
from coevo.space import Gene, Space

from .problem import AnalyticProblem

CORNER = np.array([100.0, 4.0, 6.0])
PROBLEM = AnalyticProblem()
NETWORK = np.array([gene.name.startswith("net.") for gene in PROBLEM.space.genes])


def found(optimizer: Gradient | RandomSearch, trainings: int) -> float:
    """Hypervolume of what is asked for until so many networks are."""
    networks: set[bytes] = set()
    points = []
    while len(networks) < trainings:
        genomes = optimizer.ask()
        values, violation = PROBLEM.evaluate(genomes)
        optimizer.tell(genomes, values, violation)
        for row, value, excess in zip(genomes[:, NETWORK], values, violation, strict=True):
            networks.add(row.tobytes())
            if excess == 0 and len(networks) <= trainings:
                points.append(value)
    return pareto.hypervolume(np.array(points), CORNER)


def test_descents_end_at_the_least_loss_each_of_its_own() -> None:
    space = Space(tuple(Gene(f"g{i}", tuple(range(5)), ordered=bool(i % 2)) for i in range(6)))
    targets = np.array([[0, 4, 2, 1, 3, 0], [4, 0, 1, 3, 2, 2]])

    def losses(row: int, genomes: np.ndarray) -> np.ndarray:
        return np.abs(genomes - targets[row]).sum(axis=1) / 4

    begin = np.array([[4, 0, 0, 4, 0, 4]] * 2)
    met = descend(space, begin, losses, steps=30, rate=0.3, rng=np.random.default_rng(0))
    for genomes, target in zip(met, targets, strict=True):
        np.testing.assert_array_equal(genomes[-1], target)


def test_choices_that_only_another_gene_switches_on_are_descended_to() -> None:
    space = Space((Gene("depth", (1, 2)), Gene("kernel", (3, 5, 7), parent="depth", when=(2,))))

    def losses(_: int, genomes: np.ndarray) -> np.ndarray:
        return np.where(genomes[:, 0] == 1, np.array([0.7, 0.4, 0.0])[genomes[:, 1]], 0.6)

    (met,) = descend(space, np.array([[0, 0]]), losses, steps=40, rate=0.3, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(met[-1], [1, 2])


def test_gradients_find_more_than_chance_with_the_same_trainings() -> None:
    gradient = Gradient(PROBLEM, GradientSettings(batch=6, steps=12), np.random.default_rng(0))
    assert found(gradient, 28) > 1.1 * found(RandomSearch(PROBLEM, RandomSettings(), np.random.default_rng(0)), 28)


def test_each_descent_asks_for_a_network_of_its_own_and_pairs_it() -> None:
    optimizer = Gradient(PROBLEM, GradientSettings(batch=4, steps=6), np.random.default_rng(1))
    for _ in range(4):
        genomes = optimizer.ask()
        optimizer.tell(genomes, *PROBLEM.evaluate(genomes))
    networks = {row.tobytes() for row in genomes[:, NETWORK]}
    assert 2 <= len(networks) <= 4 and len(genomes) > len(networks)
