"""Constrained search, a baseline: the least error within budgets of latency, energy and the like, one after the other.

Most of hardware-aware NAS asks for the most accurate network within a budget (MnasNet's hard constraint, FBNet, OFA).
A front takes many such searches. Here they take turns, budgets evenly apart on a logarithmic scale between the tightest
that a random design keeps within and the most that one costs; each learns from what the others had trained. The
searches are `coevo.optim.nsga2` with one objective, so that only the form of the question makes a difference.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo.optim.derived import Bounded, SearchInParts
from coevo.optim.nsga2 import NSGA2Settings, toolbox_of
from coevo.optim.operators import scaled, spread
from coevo.optim.pairing import Pairing
from coevo.optim.ranges import Range
from coevo.optim.unseen import left_open
from coevo.protocols import Array, Problem
from coevo.space import Genomes

SAMPLE = 256
"""Designs by which the budgets are set."""


class ConstrainedSettings(BaseModel):
    """Settings of constrained search.

    Attributes:
        budgets: How many there are; the last one is hardly any constraint.
        offspring: Networks that a search asks for when it is its turn.
        error_model: As NSGA-II's.
        trials: Accelerators that a network meets in a round, as NSGA-II's.
        pairings: Accelerators that it is proposed with, at most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    budgets: int = Field(default=6, ge=1, le=100)
    offspring: int = Field(default=4, ge=1)
    error_model: Literal["gaussian_process", "gradient_boosting", "none"] = "gaussian_process"
    trials: int = Field(default=32, ge=1)
    pairings: int = Field(default=16, ge=1)


class Constrained(SearchInParts):
    """Searches within one budget after the other, over and over.

    Args:
        problem: What to search; what is minimised is the first objective that needs a training, else the first.
        settings: Its settings.
        rng: Source of all its randomness.
    """

    Settings: ClassVar[type[BaseModel]] = ConstrainedSettings

    def __init__(self, problem: Problem, settings: ConstrainedSettings, rng: np.random.Generator) -> None:
        super().__init__(problem, rng)
        self._settings = settings
        toolbox = toolbox_of(problem.space, NSGA2Settings(), rng)
        self._pairing = Pairing(problem, toolbox, settings.trials, settings.pairings, rng)
        inner = NSGA2Settings(error_model=settings.error_model, offspring=settings.offspring)
        objective = int(np.argmax(left_open(problem)))
        for bounds in self._budgets():
            self._search(Bounded(problem, objective, bounds), inner)
        self._turn = 0

    def ask(self) -> Genomes:
        """Returns canonical genomes ``(batch, gene)`` never asked for or told; fewer only if there are no more."""
        for _ in self.searches:
            search = self.searches[self._turn % len(self.searches)]
            self._turn += 1
            asked = self._seen.fresh(search.ask())
            if len(asked):
                return self._pairing.of(asked, self._archive.genomes, self._seen)
        return self._seen.draw(self._rng, 1)

    def _budgets(self) -> Array:
        """Returns bounds ``(budget, objective)``, the loosest last; that of the objective left over means nothing."""
        half = SAMPLE // 2
        designs = np.concatenate(
            [spread(self._problem.space, half, self._rng), scaled(self._problem.space, half, self._rng)]
        )
        values, violation = self._problem.hardware(designs)
        costs = np.nan_to_num(values[violation == 0])
        if not len(costs):
            return np.full((1, values.shape[1]), np.finfo(np.float64).max)
        low, high = costs.min(axis=0), costs.max(axis=0)
        logarithmic = low > 0
        scale = Range(costs.shape[1], logarithmic)
        scale.add(costs)
        shares = np.linspace(scale.scaled(costs).max(axis=1).min(), 1.0, self._settings.budgets)[:, None]
        ratio = np.where(logarithmic, high / np.where(logarithmic, low, 1.0), 1.0)
        return np.asarray(np.where(logarithmic, low * ratio**shares, low + shares * (high - low)))


plugin = Constrained
