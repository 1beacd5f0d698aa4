"""New designs out of a source that may repeat itself: what hardware allows first, random ones where it runs dry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from coevo.optim.unseen import Seen
from coevo.protocols import Array, Problem
from coevo.space import Genomes

REDRAWS = 10
"""Rounds of proposals in which repeats and designs that hardware rules out are replaced."""
SPARE = 4
"""Proposals drawn for each one missing: few, as hardware scores them all, but enough to fill up in `REDRAWS` rounds."""


def propose(
    problem: Problem,
    seen: Seen,
    count: int,
    source: Callable[[int], Genomes],
    *,
    hardware_screen: bool,
    rng: np.random.Generator,
) -> Genomes:
    """Takes ``count`` new genomes from ``source``, those that hardware allows first, then the least violating.

    Where ``source`` has too few new ones (the space is nearly exhausted), random ones fill up. All are noted as seen.

    Args:
        problem: What is searched.
        seen: The genomes met so far.
        count: Genomes wanted.
        source: Gives so many canonical genomes ``(count, gene)``; repeats may occur.
        hardware_screen: Whether hardware is asked at all; if not, any new genome will do.
        rng: Source of the random ones.
    """

    def screened(genomes: Genomes) -> Array:
        if not hardware_screen or not len(genomes):
            return np.zeros(len(genomes))
        return problem.hardware(genomes)[1]

    found: Genomes = np.empty((0, len(problem.space.genes)), dtype=np.int64)
    violation = np.empty(0)
    for _ in range(REDRAWS):
        missing = count - int(np.count_nonzero(violation == 0))
        if missing <= 0 or seen.exhausted:
            break
        fresh = seen.fresh(np.concatenate([found, source(min(count, SPARE * missing))]))
        violation = np.append(violation, screened(fresh[len(found) :]))
        found = fresh
    chosen = found[np.argsort(violation, kind="stable")[:count]]
    seen.add(chosen)
    return np.concatenate([chosen, seen.draw(rng, count - len(chosen))])
