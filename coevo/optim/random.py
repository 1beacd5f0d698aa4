"""Random search: every design at most once, each gene uniform over its choices. The baseline."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo.optim.unseen import Seen, check_told
from coevo.protocols import Array, Problem
from coevo.space import Genomes


class RandomSettings(BaseModel):
    """Settings of random search.

    Attributes:
        batch: Designs per ask.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    batch: int = Field(default=30, ge=1, le=65536)


class RandomSearch:
    """Draws designs at random and learns nothing from what it is told, but not to propose it again.

    Args:
        problem: What to search.
        settings: Its settings.
        rng: Source of all its randomness.
    """

    Settings: ClassVar[type[BaseModel]] = RandomSettings

    def __init__(self, problem: Problem, settings: RandomSettings, rng: np.random.Generator) -> None:
        self._problem = problem
        self._settings = settings
        self._rng = rng
        self._seen = Seen(problem.space)

    def ask(self) -> Genomes:
        """Returns canonical genomes ``(batch, gene)`` never asked for or told; fewer only if there are no more."""
        return self._seen.draw(self._rng, self._settings.batch)

    def tell(self, genomes: Genomes, values: Array, violation: Array) -> None:
        """Notes the genomes ``(batch, gene)``; values ``(batch, objective)`` and violation ``(batch,)`` are checked.

        Raises:
            ValueError: As `check_told`.
        """
        check_told(self._problem, genomes, values, violation)
        self._seen.add(genomes)


plugin = RandomSearch
