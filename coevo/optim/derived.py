"""Problems made out of a problem: one accelerator, fewer choices, bounds in place of objectives. And NSGA-II on them.

What is done without joint search is joint search on less (`coevo.optim.sequential`, `constrained`, `pruned`): so that
only what is left out makes the difference, all of them search with `coevo.optim.nsga2`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from coevo.design import Quantity
from coevo.optim.archive import Archive
from coevo.optim.nsga2 import NSGA2, NSGA2Settings
from coevo.optim.unseen import Seen, check_told
from coevo.protocols import Array, Problem, is_network
from coevo.space import Genomes, Space


class Derived:
    """A problem that stands for part of another (socket `Problem`); as it is, for all of it.

    Args:
        problem: The whole.
        space: The part's space.
    """

    def __init__(self, problem: Problem, space: Space) -> None:
        self._problem = problem
        self.space = space
        if hasattr(problem, "features"):
            self.views = problem.views  # type: ignore[attr-defined]
            self.features = lambda genomes, views: problem.features(self.joined(genomes), views)

    @property
    def objectives(self) -> tuple[Quantity, ...]:
        """Those of the whole problem."""
        return self._problem.objectives

    def hardware(self, genomes: Genomes) -> tuple[Array, Array]:
        """Scores the part's genomes ``(batch, own gene)``; see `Problem.hardware`."""
        return self.judged(*self._problem.hardware(self.joined(genomes)))

    def joined(self, genomes: Genomes) -> Genomes:
        """Returns the designs ``(batch, gene)`` that the part's genomes ``(batch, own gene)`` stand for."""
        return genomes

    def parted(self, genomes: Genomes) -> tuple[Genomes, NDArray[np.bool_]]:
        """Returns the part's genomes of designs ``(batch, gene)``, and which designs are of the part ``(batch,)``."""
        return genomes, np.ones(len(genomes), dtype=np.bool_)

    def judged(self, values: Array, violation: Array) -> tuple[Array, Array]:
        """Returns what the whole problem's values ``(batch, objective)`` and violation ``(batch,)`` are to the part."""
        return values, violation


class OneMachine(Derived):
    """Networks for one accelerator.

    Args:
        problem: The whole.
        machine: A genome ``(gene,)`` with the accelerator.
    """

    def __init__(self, problem: Problem, machine: Genomes) -> None:
        self._machine = machine
        self._own = is_network(problem.space)
        super().__init__(problem, problem.space.part(self._own))

    def joined(self, genomes: Genomes) -> Genomes:
        """The networks, each with the machine."""
        designs = np.repeat(self._machine[None, :], len(genomes), axis=0)
        designs[:, self._own] = genomes
        return designs

    def parted(self, genomes: Genomes) -> tuple[Genomes, NDArray[np.bool_]]:
        """The networks, and which of them have the machine."""
        return genomes[:, self._own], (genomes[:, ~self._own] == self._machine[~self._own]).all(axis=1)


class Narrowed(Derived):
    """Fewer choices for some genes.

    Args:
        problem: The whole.
        kept: Of each gene, the indices of the choices that are left, ascending.
    """

    def __init__(self, problem: Problem, kept: list[NDArray[np.int64]]) -> None:
        genes = [
            replace(gene, choices=tuple(gene.choices[i] for i in left.tolist()))
            for gene, left in zip(problem.space.genes, kept, strict=True)
        ]
        super().__init__(problem, Space(tuple(genes)))
        self._kept = kept

    def joined(self, genomes: Genomes) -> Genomes:
        """The same designs, as the whole space numbers them."""
        columns = [left[column] for left, column in zip(self._kept, genomes.T, strict=True)]
        return self._problem.space.canonical(np.array(columns, dtype=np.int64).reshape(len(self._kept), -1).T)

    def parted(self, genomes: Genomes) -> tuple[Genomes, NDArray[np.bool_]]:
        """As the narrowed space numbers them, and which of them it holds."""
        places = [np.searchsorted(left, column) for left, column in zip(self._kept, genomes.T, strict=True)]
        narrow = np.array(places, dtype=np.int64).reshape(len(self._kept), -1).T
        narrow = self.space.canonical(np.minimum(narrow, self.space.cardinalities - 1))
        return narrow, (self.joined(narrow) == genomes).all(axis=1)


class Bounded(Derived):
    """The least of one objective, where the others must keep within bounds.

    Args:
        problem: The whole.
        objective: Which is left.
        bounds: Of each objective ``(objective,)``, as minimised; that of the one left is not read.
    """

    def __init__(self, problem: Problem, objective: int, bounds: Array) -> None:
        super().__init__(problem, problem.space)
        self._objective = objective
        self._others = np.arange(len(bounds)) != objective
        self._bounds = bounds

    @property
    def objectives(self) -> tuple[Quantity, ...]:
        """The one that is left."""
        return (self._problem.objectives[self._objective],)

    def judged(self, values: Array, violation: Array) -> tuple[Array, Array]:
        """That objective's values, and how far the others are beyond their bounds, added to the violation."""
        bounds = self._bounds[self._others]
        beyond = (values[:, self._others] - bounds) / np.where(bounds == 0, 1.0, np.abs(bounds))
        excess = np.where(violation > 0, 0.0, np.maximum(beyond, 0.0).sum(axis=1))
        return values[:, [self._objective]], violation + excess


class PartialSearch:
    """NSGA-II on a derived problem, asked and told in designs of the whole.

    Args:
        part: The derived problem.
        settings: NSGA-II's.
        rng: Source of all its randomness.
    """

    def __init__(self, part: Derived, settings: NSGA2Settings, rng: np.random.Generator) -> None:
        self.part = part
        self._search = NSGA2(part, settings, rng)

    def ask(self) -> Genomes:
        """Returns designs ``(batch, gene)`` of the part."""
        return self.part.joined(self._search.ask())

    def tell(self, genomes: Genomes, values: Array, violation: Array) -> None:
        """Takes in those designs that are of the part; see `coevo.protocols.Optimizer.tell`."""
        own, here = self.part.parted(genomes)
        self._search.tell(own[here], *self.part.judged(values[here], violation[here]))


class SearchInParts:
    """What optimisers that search parts of a problem share: they tell each part what concerns it.

    Args:
        problem: The whole.
        rng: Source of all its randomness.

    Attributes:
        searches: Of the parts; they may come later, and are then told what the archive holds.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self._problem = problem
        self._rng = rng
        self._seen = Seen(problem.space)
        self._archive = Archive(problem)
        self.searches: list[PartialSearch] = []

    def tell(self, genomes: Genomes, values: Array, violation: Array) -> None:
        """Takes in designs ``(batch, gene)``, asked for or not.

        Args:
            genomes: Canonical.
            values: ``(batch, objective)``, minimised; rows with violation > 0 are not read.
            violation: ``(batch,)``, 0 if feasible.

        Raises:
            ValueError: As `check_told`.
        """
        values, violation = check_told(self._problem, genomes, values, violation)
        self._seen.add(genomes)
        self._archive.add(genomes, values, violation)
        for search in self.searches:
            search.tell(genomes, values, violation)

    def _search(self, part: Derived, settings: NSGA2Settings) -> None:
        """Adds the search of a part."""
        search = PartialSearch(part, settings, self._rng)
        search.tell(self._archive.genomes, self._archive.values, self._archive.violation)
        self.searches.append(search)
