"""Regularised (aging) evolution over the joint genome.

Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019: the best of a random sample of
the population is mutated, the child joins the population, and the oldest member leaves it, however good it is. A design
that was lucky once so dies out, unless its children do well too. What differs, and why:

- Several objectives: each child draws a weight for each of them, and the sample's best is the one with the least
  augmented Tchebycheff distance (Knowles, "ParEGO", IEEE TEC 10(1), 2006). The weights differ from child to child, so
  the population spreads along the front, also where the front is not convex.
- Objectives are scaled to the range that was told so far, those that hardware decides by their logarithm where all are
  positive: a latency of 1 ms against 2 counts as much as 10 against 20.
- Designs that violate a constraint lose against all that do not, and to each other by how much they do.
- No design is proposed twice, and what hardware rules out is redrawn: evaluations are dear.
- Mutation knows the genes, as in `coevo.optim.nsga2`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from coevo.optim.operators import complete, mutate, spread
from coevo.optim.proposals import propose
from coevo.optim.ranges import Range
from coevo.optim.unseen import Seen, Told, left_open
from coevo.protocols import Array, Problem
from coevo.space import Genomes

AUGMENTATION = 0.05
"""Weight of the plain weighted sum beside the largest term (Knowles 2006): of equal largest terms the better wins."""


class RegularizedEvolutionSettings(BaseModel):
    """Settings of regularised evolution.

    Attributes:
        population: Designs alive at a time; as many are spread over the space before any is mutated.
        sample: Members, drawn at random, of which the best has a child; at most the population.
        batch: Children per ask.
        mutations: Expected number of active genes that mutate per child.
        step: Probability that a mutating ordered gene moves to a neighbouring choice instead of any other.
        hardware_screen: Whether designs that violate the hardware's constraints are redrawn before they are asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    population: int = Field(default=30, ge=1, le=65536)
    sample: int = Field(default=20, ge=1, le=65536)
    batch: int = Field(default=8, ge=1, le=65536)
    mutations: float = Field(default=1.0, gt=0)
    step: float = Field(default=0.5, ge=0, le=1)
    hardware_screen: bool = True


class RegularizedEvolution:
    """Mutates the best of a sample of the youngest designs.

    `ask` may be called again before `tell`: it goes by what is known so far. Designs age in the order they are told.

    Args:
        problem: What to search.
        settings: Its settings.
        rng: Source of all its randomness.
    """

    Settings: ClassVar[type[BaseModel]] = RegularizedEvolutionSettings

    def __init__(self, problem: Problem, settings: RegularizedEvolutionSettings, rng: np.random.Generator) -> None:
        self._problem = problem
        self._settings = settings
        self._rng = rng
        self._seen = Seen(problem.space)
        self._told = Told(problem, self._seen)
        self._asked = 0
        self._genomes: Genomes = np.empty((0, len(problem.space.genes)), dtype=np.int64)
        self._values: Array = np.empty((0, len(problem.objectives)))
        self._violation: Array = np.empty(0)
        # Costs, which hardware alone decides, by their logarithms; an error is no ratio scale.
        self._range = Range(len(problem.objectives), ~left_open(problem))

    @property
    def population(self) -> Genomes:
        """The designs alive ``(member, gene)``, the oldest first."""
        return self._genomes.copy()

    def ask(self) -> Genomes:
        """Returns canonical genomes ``(batch, gene)`` never asked for or told; fewer only if there are no more."""
        lacking = self._settings.population - max(self._asked, len(self._genomes))
        if lacking > 0 or not len(self._genomes):
            asked = self._propose(lacking if lacking > 0 else self._settings.batch, self._first)
        else:
            asked = self._propose(self._settings.batch, self._children)
        self._asked += len(asked)
        return asked

    def tell(self, genomes: Genomes, values: Array, violation: Array) -> None:
        """Lets these designs, asked for or not, join the population, and the oldest die.

        Args:
            genomes: ``(batch, gene)``, canonical. Of a design told twice the first figures count, and its first age.
            values: ``(batch, objective)``, minimised; rows with violation > 0 are not read.
            violation: ``(batch,)``, 0 if feasible.

        Raises:
            ValueError: As `check_told`.
        """
        genomes, values, violation = self._told.new(genomes, values, violation)
        self._range.add(values[violation == 0])
        youngest = slice(-self._settings.population, None)
        self._genomes = np.concatenate([self._genomes, genomes])[youngest]
        self._values = np.concatenate([self._values, values])[youngest]
        self._violation = np.concatenate([self._violation, violation])[youngest]

    def _propose(self, count: int, source: Callable[[int], Genomes]) -> Genomes:
        screen = self._settings.hardware_screen
        return propose(self._problem, self._seen, count, source, hardware_screen=screen, rng=self._rng)

    def _first(self, count: int) -> Genomes:
        """Draws canonical genomes ``(count, gene)`` that are spread over the space."""
        return spread(self._problem.space, count, self._rng)

    def _children(self, count: int) -> Genomes:
        """Breeds canonical genomes ``(count, gene)``; repeats may occur."""
        space, settings = self._problem.space, self._settings
        parents = self._genomes[self._winners(count)]
        completed = complete(parents, parents, space, self._rng)
        children = mutate(completed, space=space, mutations=settings.mutations, step=settings.step, rng=self._rng)
        return space.canonical(children)

    def _winners(self, count: int) -> NDArray[np.int64]:
        """Returns the members ``(count,)`` that are the best of a random sample each, by random weights each."""
        members, objectives = self._values.shape
        samples = np.argsort(self._rng.random((count, members)), axis=1)[:, : self._settings.sample]
        weights = self._rng.dirichlet(np.ones(objectives), size=count)
        violation = self._violation[samples]
        weighted = weights[:, None, :] * self._scaled()[samples]
        distance = weighted.max(axis=2) + AUGMENTATION * weighted.sum(axis=2)
        best = np.lexsort((np.where(violation > 0, 0.0, distance), violation), axis=1)[:, :1]
        winners: NDArray[np.int64] = np.take_along_axis(samples, best, axis=1)[:, 0]
        return winners

    def _scaled(self) -> Array:
        """Returns the members' values ``(member, objective)``, each from 0 (the best told) to 1; 0 where not read."""
        feasible = self._violation == 0
        scaled = np.zeros_like(self._values)
        scaled[feasible] = self._range.scaled(self._values[feasible])
        return scaled


plugin = RegularizedEvolution
