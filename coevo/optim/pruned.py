"""Search in a pruned space, a baseline: choices that are dear on the target are dropped before anything is trained.

Hardware-aware pruning of the space (as in L. L. Zhang et al., "Fast Hardware-Aware Neural Architecture Search", CVPR
workshops 2020): of every network gene the choices are ranked by what they cost on the accelerators in the mean,
and the dearest share of them goes. What is left is searched by `coevo.optim.nsga2`, so that only the pruning makes a
difference. It saves trainings, and what it drops is lost, be it ever so accurate.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from coevo.optim.derived import Narrowed, SearchInParts
from coevo.optim.nsga2 import NSGA2Settings
from coevo.protocols import Array, Problem, is_network
from coevo.space import Genomes

SAMPLE = 64
"""Random designs in which each choice takes the place of every other."""


class PrunedSettings(BaseModel):
    """Settings of search in a pruned space.

    Attributes:
        drop: Share of each network gene's choices that is dropped, rounded to whole ones; one is always left.
        error_model: As NSGA-II's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    drop: float = Field(default=0.2, ge=0, lt=1)
    error_model: Literal["gaussian_process", "gradient_boosting", "none"] = "gaussian_process"


class Pruned(SearchInParts):
    """Searches what is not dear.

    Args:
        problem: What to search.
        settings: Its settings.
        rng: Source of all its randomness.
    """

    Settings: ClassVar[type[BaseModel]] = PrunedSettings

    def __init__(self, problem: Problem, settings: PrunedSettings, rng: np.random.Generator) -> None:
        super().__init__(problem, rng)
        part = Narrowed(problem, kept_choices(problem, settings.drop, rng))
        self._search(part, NSGA2Settings(error_model=settings.error_model))

    def ask(self) -> Genomes:
        """Returns canonical genomes ``(batch, gene)`` never asked for or told; fewer only if there are no more."""
        asked = self._seen.fresh(self.searches[0].ask())
        self._seen.add(asked)
        return asked if len(asked) else self._seen.draw(self._rng, 1)


def kept_choices(problem: Problem, drop: float, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Returns of each gene the indices of the choices that are left, ascending; all of an accelerator's gene.

    Args:
        problem: Whose hardware judges; designs that it rules out count for nothing.
        drop: Share of a network gene's choices to drop.
        rng: Draws the designs.
    """
    space = problem.space
    designs = space.sample(rng, SAMPLE)
    kept = []
    for gene, (count, own) in enumerate(zip(space.cardinalities.tolist(), is_network(space), strict=True)):
        left = max(1, count - round(drop * count))
        if own and left < count:
            order = np.argsort(_dearness(problem, designs, gene), kind="stable")
            kept.append(np.sort(order[:left]).astype(np.int64))
        else:
            kept.append(np.arange(count, dtype=np.int64))
    return kept


def _dearness(problem: Problem, designs: Genomes, gene: int) -> Array:
    """What each choice of a gene costs beside the others ``(choice,)``: mean rank over designs and costs."""
    active = designs[problem.space.active(designs)[:, gene]]
    count = int(problem.space.cardinalities[gene])
    if not len(active):
        return np.zeros(count)
    variants = np.repeat(active[:, None, :], count, axis=1)
    variants[:, :, gene] = np.arange(count)
    values, violation = problem.hardware(problem.space.canonical(variants.reshape(-1, designs.shape[1])))
    costs = values[:, ~np.isnan(values).any(axis=0)].reshape(len(active), count, -1)
    allowed = (violation == 0).reshape(len(active), count).all(axis=1)
    if not allowed.any():
        return np.zeros(count)
    ranks = np.argsort(np.argsort(costs[allowed], axis=1, kind="stable"), axis=1)
    return np.asarray(ranks.mean(axis=(0, 2)) if ranks.size else np.zeros(count))


plugin = Pruned
