"""What an optimiser itself costs, evaluation aside: one ask and tell, 3 objectives, 60 genes of 8 choices.

    pytest tests/benchmarks/test_optim_speed.py --benchmark-group-by=param:population \\
        --benchmark-timer=time.process_time

The hardware screen is off: it costs what the cost model costs. pymoo's NSGA-II on the same problem stands beside.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from coevo import pareto
from coevo.design import Quantity
from coevo.optim.nsga2 import NSGA2, NSGA2Settings
from coevo.space import Gene, Space

GENES, CHOICES = 60, 8


class Sphere:
    """Each objective is the distance to a corner of its own; nothing is infeasible."""

    space = Space(tuple(Gene(f"{'net' if i < 40 else 'chip'}.g{i}", tuple(range(CHOICES))) for i in range(GENES)))
    objectives = (Quantity("one"), Quantity("two"), Quantity("three"))

    def hardware(self, genomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        corners = [(CHOICES - 1) * (np.arange(GENES) % 3 == k) for k in range(3)]
        return np.stack([np.abs(genomes - c).sum(axis=1) for c in corners], axis=1) * 1.0, np.zeros(len(genomes))


def coevo_generation(population: int) -> Callable[[], None]:
    problem = Sphere()
    optimizer = NSGA2(problem, NSGA2Settings(population=population, hardware_screen=False), np.random.default_rng(0))

    def generation() -> None:
        genomes = optimizer.ask()
        optimizer.tell(genomes, *problem.hardware(genomes))

    return generation


def pymoo_generation(population: int, *, duplicates: bool = False) -> Callable[[], None]:
    from pymoo.algorithms.moo import nsga2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.ux import UniformCrossover
    from pymoo.operators.mutation.rm import ChoiceRandomMutation
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    class Wrapped(Problem):
        def __init__(self) -> None:
            super().__init__(n_var=GENES, n_obj=3, xl=0, xu=CHOICES - 1, vtype=int)

        def _evaluate(self, x, out, *args, **kwargs):
            out["F"] = Sphere().hardware(x)[0]

    class Reset(ChoiceRandomMutation):
        def _do(self, problem, X, random_state=None, **kwargs):
            hit = random_state.random(X.shape) < 1 / GENES
            return np.where(hit, random_state.integers(0, CHOICES, X.shape), X)

    algorithm = nsga2.NSGA2(
        pop_size=population,
        sampling=IntegerRandomSampling(),
        crossover=UniformCrossover(prob=0.9),
        mutation=Reset(),
        eliminate_duplicates=not duplicates,
    )
    algorithm.setup(Wrapped(), termination=("n_gen", 10**9), seed=0, verbose=False)
    return algorithm.next


def pymoo_generation_with_duplicates(population: int) -> Callable[[], None]:
    return pymoo_generation(population, duplicates=True)


ROUNDS = {100: 200, 1_000: 20, 10_000: 2}


@pytest.mark.parametrize("population", ROUNDS)
@pytest.mark.parametrize("engine", [coevo_generation, pymoo_generation, pymoo_generation_with_duplicates])
def test_generation(benchmark, engine, population):
    generation = engine(population)
    for _ in range(2 if population == 10_000 else 5):
        generation()
    benchmark.pedantic(generation, rounds=ROUNDS[population], iterations=1)


def test_hypervolume_history_of_ten_thousand_designs(benchmark):
    values = np.random.default_rng(0).random((10_000, 3))
    benchmark.pedantic(pareto.hypervolume_history, args=(values, np.zeros(10_000), np.full(3, 1.1)), rounds=3)


def test_hypervolume_history_of_ten_thousand_designs_that_are_all_on_the_front(benchmark):
    values = np.abs(np.random.default_rng(0).normal(size=(10_000, 3)))
    values = 1 - values / np.linalg.norm(values, axis=1, keepdims=True)
    benchmark.pedantic(pareto.hypervolume_history, args=(values, np.zeros(10_000), np.full(3, 1.1)), rounds=1)
