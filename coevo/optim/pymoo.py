"""pymoo's algorithms: NSGA-II, NSGA-III, AGE-MOEA-II and SMS-EMOA, asked and told a generation at a time.

J. Blank, K. Deb, "pymoo: Multi-Objective Optimization in Python", IEEE Access 8, 2020. How designs are put to pymoo:

- A variable is the index of a gene's choice. Parents swap each gene with probability one half, and of a child one gene
  on average takes a random choice. Inactive genes are zeroed in what is asked for, but not in what pymoo breeds from.
- A violation is a constraint. Of a design that violates one no objective is known; pymoo, which wants figures all the
  same, is told the worst known and compares such designs by their violation alone.
- A design met before is bred anew. Where pymoo repeats itself too often, random designs fill up.
- All that was told since the last ask, asked for or not, makes up a generation.
- Hardware is not asked beforehand: pymoo meets its constraints as it is told of them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo.errors import BackendError
from coevo.optim.operators import complete, spread
from coevo.optim.ranges import Range
from coevo.optim.unseen import Seen, Told
from coevo.protocols import Array, Problem
from coevo.space import Genomes

if TYPE_CHECKING:
    from pymoo.algorithms.base.genetic import GeneticAlgorithm
    from pymoo.core.mutation import Mutation
    from pymoo.core.survival import Survival

REDRAWS = 10
"""Generations bred for one ask, before random designs fill up."""


class PymooSettings(BaseModel):
    """Settings of pymoo's algorithms.

    Attributes:
        algorithm: ``nsga2``; ``nsga3``, whose reference directions are as many as the population holds; ``age2``
            (AGE-MOEA-II), which learns the front's shape; or ``sms`` (SMS-EMOA), which goes by hypervolume.
        population: Designs that survive a generation; as many are spread over the space before any is bred.
        offspring: Designs per later ask. Few learn faster per design; pymoo's own default is the population's size.
        crossover: Probability that two parents mix their genes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    algorithm: Literal["nsga2", "nsga3", "age2", "sms"] = "nsga2"
    population: int = Field(default=30, ge=2, le=65536)
    offspring: int = Field(default=8, ge=1, le=65536)
    crossover: float = Field(default=0.9, ge=0, le=1)


class Pymoo:
    """Proposes what a pymoo algorithm breeds, each design once.

    Args:
        problem: What to search.
        settings: Its settings.
        rng: Source of all its randomness; pymoo draws from it too.

    Raises:
        BackendError: pymoo is not installed.
    """

    Settings: ClassVar[type[BaseModel]] = PymooSettings

    def __init__(self, problem: Problem, settings: PymooSettings, rng: np.random.Generator) -> None:
        try:
            with _quiet():
                self._algorithm = _algorithm(problem, settings, rng)
        except ImportError as error:
            raise BackendError("the optimiser pymoo needs the package pymoo: pip install 'coevo[pymoo]'") from error
        self._problem = problem
        self._settings = settings
        self._rng = rng
        self._seen = Seen(problem.space)
        self._told = Told(problem, self._seen)
        self._bred: dict[bytes, Genomes] = {}
        self._asked = 0
        self._genomes: Genomes = np.empty((0, len(problem.space.genes)), dtype=np.int64)
        self._values: Array = np.empty((0, len(problem.objectives)))
        self._violation: Array = np.empty(0)
        self._range = Range(len(problem.objectives))

    def ask(self) -> Genomes:
        """Returns canonical genomes ``(batch, gene)`` never asked for or told; fewer only if there are no more."""
        settings = self._settings
        count = settings.offspring
        if not self._algorithm.is_initialized:
            lacking = settings.population - max(self._asked, len(self._genomes))
            if lacking > 0 or len(self._genomes) < 2:
                return self._first(lacking if lacking > 0 else count)
        self._advance()
        chosen: Genomes = np.empty((0, len(self._problem.space.genes)), dtype=np.int64)
        for _ in range(REDRAWS):
            if len(chosen) == count or self._seen.exhausted:
                break
            with _quiet():
                children = self._algorithm.ask()
            if children is None:  # all children equal their parents
                continue
            bred = children.get("X").astype(np.int64)
            genomes = self._problem.space.canonical(bred)
            rows = self._seen.rows_of_fresh(genomes)[: count - len(chosen)]
            self._seen.add(genomes[rows])
            self._bred.update((genomes[row].tobytes(), bred[row]) for row in rows)
            chosen = np.concatenate([chosen, genomes[rows]])
        return np.concatenate([chosen, self._seen.draw(self._rng, count - len(chosen))])

    def tell(self, genomes: Genomes, values: Array, violation: Array) -> None:
        """Puts these designs, asked for or not, into pymoo's next generation.

        Args:
            genomes: ``(batch, gene)``, canonical. Of a design told twice the first figures count.
            values: ``(batch, objective)``, minimised; rows with violation > 0 are not read.
            violation: ``(batch,)``, 0 if feasible.

        Raises:
            ValueError: As `check_told`.
        """
        genomes, values, violation = self._told.new(genomes, values, violation)
        self._range.add(values[violation == 0])
        completed = complete(genomes, genomes, self._problem.space, self._rng)
        for i, genome in enumerate(genomes):
            completed[i] = self._bred.pop(genome.tobytes(), completed[i])
        self._genomes = np.concatenate([self._genomes, completed])
        self._values = np.concatenate([self._values, values])
        self._violation = np.concatenate([self._violation, violation])

    def _first(self, count: int) -> Genomes:
        """Returns new genomes ``(count, gene)`` that are spread over the space, as far as there are any."""
        chosen = self._seen.fresh(spread(self._problem.space, count, self._rng))
        self._seen.add(chosen)
        asked = np.concatenate([chosen, self._seen.draw(self._rng, count - len(chosen))])
        self._asked += len(asked)
        return asked

    def _advance(self) -> None:
        """Hands over to pymoo what was told since it last was."""
        from pymoo.core.population import Population

        if not len(self._genomes):
            return
        violated = self._violation[:, None]
        generation = Population.new(
            X=self._genomes,
            F=np.where(violated > 0, self._range.worst, self._values),
            G=violated.copy(),
            H=np.empty((len(violated), 0)),
        )
        with _quiet():
            self._algorithm.tell(infills=generation)
        self._genomes, self._values, self._violation = self._genomes[:0], self._values[:0], self._violation[:0]


def _algorithm(problem: Problem, settings: PymooSettings, rng: np.random.Generator) -> GeneticAlgorithm:
    """Returns the algorithm, ready to be told its first generation."""
    from pymoo.algorithms.moo.age2 import AGEMOEA2
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.algorithms.moo.nsga3 import NSGA3
    from pymoo.algorithms.moo.sms import SMSEMOA
    from pymoo.core import problem as pymoo_problem
    from pymoo.core.termination import NoTermination
    from pymoo.operators.crossover.ux import UniformCrossover

    objectives, cardinalities = len(problem.objectives), problem.space.cardinalities
    operators: dict[str, Any] = {
        "pop_size": settings.population,
        "n_offsprings": settings.offspring,
        "crossover": UniformCrossover(prob=settings.crossover),
        "mutation": _mutation(problem),
    }
    if settings.algorithm == "nsga3":
        algorithm = NSGA3(ref_dirs=_directions(objectives, settings.population), **operators)
    else:
        algorithm = {"nsga2": NSGA2, "age2": AGEMOEA2, "sms": SMSEMOA}[settings.algorithm](**operators)
    variables = pymoo_problem.Problem(
        n_var=len(cardinalities), n_obj=objectives, n_ieq_constr=1, xl=0, xu=cardinalities - 1, vtype=int
    )
    if settings.algorithm == "age2":
        algorithm.survival = _survival_at_the_ideal()
    algorithm.setup(variables, termination=NoTermination(), seed=0)
    algorithm.random_state = rng
    return algorithm


def _survival_at_the_ideal() -> Survival:
    """Returns AGE-MOEA-II's survival, which as pymoo has it divides by zero if a design is the best in all objectives.

    Such a design's values are all 0 once they are scaled, and it has no direction; it gets one.
    """
    from pymoo.algorithms.moo import age2

    class SurvivalAtTheIdeal(age2.AGEMOEA2Survival):  # type: ignore[misc, unused-ignore]  # pymoo may be absent
        @staticmethod
        def pairwise_distances(front: Array, p: float) -> Array:
            somewhere = np.where((front > 0).any(axis=1, keepdims=True), front, 1e-9)
            distances: Array = age2.AGEMOEA2Survival.pairwise_distances(somewhere, p)
            return distances

    return SurvivalAtTheIdeal()


def _mutation(problem: Problem) -> Mutation:
    """Returns the mutation: each gene takes any of its choices, with probability 1 / genes."""
    from pymoo.core import mutation

    cardinalities = problem.space.cardinalities

    class RandomReset(mutation.Mutation):  # type: ignore[misc, unused-ignore]  # pymoo may be absent
        def _do(self, problem: Any, X: Genomes, *args: Any, random_state: Any = None, **kwargs: Any) -> Genomes:  # noqa: ARG002, N803
            hit = random_state.random(X.shape) < 1 / len(cardinalities)
            return np.where(hit, random_state.integers(0, cardinalities, size=X.shape), X)

    return RandomReset()


def _directions(objectives: int, most: int) -> Array:
    """Returns at most so many evenly spread reference directions ``(direction, objective)`` (Das and Dennis 1998)."""
    from pymoo.util.ref_dirs import get_reference_directions

    parts = 1
    while objectives > 1 and math.comb(parts + objectives, objectives - 1) <= most:
        parts += 1
    directions: Array = get_reference_directions("das-dennis", objectives, n_partitions=parts)
    return directions


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back pymoo's note on its compiled parts, and leaves its own settings as they were."""
    from pymoo.config import Config

    shown = Config.warnings["not_compiled"]
    Config.warnings["not_compiled"] = False
    try:
        yield
    finally:
        Config.warnings["not_compiled"] = shown


plugin = Pymoo
