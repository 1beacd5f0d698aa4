"""Every design that an optimiser was told, and what it says of networks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coevo.optim.unseen import first_of_equal, keys
from coevo.protocols import Array, Problem, is_network
from coevo.space import Genomes


class Archive:
    """Figures by design; of a design told twice the first count.

    Args:
        problem: What is searched.

    Attributes:
        genomes: ``(design, gene)``, in the order of telling.
        values: ``(design, objective)``; rows with violation > 0 mean nothing.
        violation: ``(design,)``.
        is_network: Which genes are the network's ``(gene,)``.
    """

    def __init__(self, problem: Problem) -> None:
        self.genomes: Genomes = np.empty((0, len(problem.space.genes)), dtype=np.int64)
        self.values: Array = np.empty((0, len(problem.objectives)))
        self.violation: Array = np.empty(0)
        self.is_network = is_network(problem.space)
        self._problem = problem

    def add(self, genomes: Genomes, values: Array, violation: Array) -> None:
        """Takes in designs ``(batch, gene)`` with their figures."""
        genomes = np.concatenate([self.genomes, genomes])
        first = first_of_equal(genomes)
        self.genomes = genomes[first]
        self.values = np.concatenate([self.values, values])[first]
        self.violation = np.concatenate([self.violation, violation])[first]

    def network_keys(self, genomes: Genomes) -> list[bytes]:
        """Returns what tells genomes' networks apart ``(batch,)``."""
        return keys(genomes[:, self.is_network])

    def measured(self) -> dict[bytes, int]:
        """Returns the first feasible design of each network that has one, as a row, by the network's key."""
        return self._first(np.flatnonzero(self.violation == 0))

    def known(self) -> dict[bytes, Array]:
        """Returns the values ``(objective,)`` of each network's first feasible design, by the network's key."""
        return {key: self.values[row] for key, row in self.measured().items()}

    def failed(self) -> dict[bytes, int]:
        """Returns the first design of each network that came to nothing although hardware allowed it."""
        rows = np.flatnonzero(self.violation > 0)
        if not len(rows):
            return {}
        failed = self._first(rows[self._problem.hardware(self.genomes[rows])[1] == 0])
        measured = self.measured()
        return {key: row for key, row in failed.items() if key not in measured}

    def _first(self, rows: NDArray[np.int64]) -> dict[bytes, int]:
        first: dict[bytes, int] = {}
        for key, row in zip(self.network_keys(self.genomes[rows]), rows.tolist(), strict=True):
            first.setdefault(key, row)
        return first
