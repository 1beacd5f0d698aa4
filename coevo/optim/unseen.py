"""What every optimiser needs to propose each design once: the genomes met so far, and a check of what is told."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from coevo import pareto
from coevo.protocols import Array, Problem
from coevo.space import Genomes, Space

DRAWS = 20
"""Rounds of random draws before `Seen.draw` walks through the space in order."""


def check_told(problem: Problem, genomes: Genomes, values: Array, violation: Array) -> tuple[Array, Array]:
    """Returns what was told as float64 values ``(batch, objective)`` and violation ``(batch,)``.

    Raises:
        ValueError: A shape is wrong, a genome is not canonical, or a feasible row has a value that is not finite.
    """
    if (problem.space.canonical(genomes) != genomes).any():
        raise ValueError("told genomes must be canonical (inactive genes 0); pass them through Space.canonical")
    values, violation = pareto.check(values, violation)
    wanted = (len(genomes), len(problem.objectives))
    if values.shape != wanted:
        raise ValueError(f"values must be (batch, objective) = {wanted}; got {values.shape}")
    return values, violation


def left_open(problem: Problem) -> NDArray[np.bool_]:
    """Says which objectives hardware does not decide ``(objective,)``: those that need a training."""
    first = problem.space.canonical(np.zeros((1, len(problem.space.genes)), dtype=np.int64))
    return np.asarray(np.isnan(problem.hardware(first)[0][0]))


class Seen:
    """The canonical genomes of a space that were ever asked for or told.

    Args:
        space: The space.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._keys: set[bytes] = set()

    @property
    def exhausted(self) -> bool:
        """Whether every design of the space has been met."""
        return len(self._keys) >= self._space.size

    def add(self, genomes: Genomes) -> None:
        """Notes canonical genomes ``(batch, gene)``."""
        self._keys.update(keys(genomes))

    def has(self, genome: Genomes) -> bool:
        """Whether a canonical genome ``(gene,)`` was met before."""
        return genome.tobytes() in self._keys

    def fresh(self, genomes: Genomes) -> Genomes:
        """Returns the rows not met before, the first of equal ones, in their order; does not note them."""
        return genomes[self.rows_of_fresh(genomes)]

    def rows_of_fresh(self, genomes: Genomes) -> list[int]:
        """Returns which rows `fresh` keeps."""
        met = self._keys
        return [i for key, i in _first(genomes).items() if key not in met]

    def draw(self, rng: np.random.Generator, count: int) -> Genomes:
        """Draws genomes ``(count, gene)`` not met before and notes them; fewer only if the space has no more."""
        drawn: list[Genomes] = [np.empty((0, len(self._space.genes)), dtype=np.int64)]
        for _ in range(DRAWS):
            if count > 0 and not self.exhausted:
                drawn.append(self.fresh(self._space.sample(rng, count)))
                self.add(drawn[-1])
                count -= len(drawn[-1])
        genome = self._space.sample(rng, 1)
        while count > 0 and not self.exhausted:  # what is left is rare: look at one after the other
            genome = successor(self._space, genome)
            drawn.append(self.fresh(genome))
            self.add(genome)
            count -= len(drawn[-1])
        return np.concatenate(drawn)


class Told:
    """Takes in what an optimiser is told, each design once.

    Args:
        problem: What is searched.
        seen: Notes the designs too.
    """

    def __init__(self, problem: Problem, seen: Seen) -> None:
        self._problem = problem
        self._seen = seen
        self._told = Seen(problem.space)

    def new(self, genomes: Genomes, values: Array, violation: Array) -> tuple[Genomes, Array, Array]:
        """Returns genomes ``(design, gene)``, values ``(design, objective)`` and violation of designs not told before.

        Raises:
            ValueError: As `check_told`.
        """
        values, violation = check_told(self._problem, genomes, values, violation)
        rows = self._told.rows_of_fresh(genomes)
        self._seen.add(genomes)
        self._told.add(genomes)
        return genomes[rows], values[rows], violation[rows]


def successor(space: Space, genome: Genomes) -> Genomes:
    """Returns the canonical genome ``(1, gene)`` after this one in lexicographic order; the last wraps to the first.

    Counting up zeroes all genes to the right, and a gene's activity depends on genes to its left only, so the
    next canonical genome is one step of the rightmost active gene that can still grow.
    """
    grows: NDArray[np.int64] = np.flatnonzero(space.active(genome)[0] & (genome[0] < space.cardinalities - 1))
    following = np.zeros_like(genome)
    if grows.size:
        following[0, : grows[-1] + 1] = genome[0, : grows[-1] + 1]
        following[0, grows[-1]] += 1
    return following


def first_of_equal(genomes: Genomes | Array) -> list[int]:
    """Returns the rows of a matrix ``(batch, gene)`` that equal no earlier row, in order."""
    return list(_first(genomes).values())


def keys(genomes: Genomes | Array) -> list[bytes]:
    """Returns what tells the rows of a matrix ``(batch, gene)`` apart ``(batch,)``: their bytes, in C order."""
    rows = np.ascontiguousarray(genomes)
    if not rows.shape[1]:
        return [b""] * len(rows)
    row = np.dtype((np.void, rows.shape[1] * rows.itemsize))
    return cast("list[bytes]", rows.view(row).ravel().tolist())  # twice as fast as one tobytes() after the other


def _first(genomes: Genomes | Array) -> dict[bytes, int]:
    """Returns the first row of each kind, in order, by its key."""
    first: dict[bytes, int] = {}
    for i, key in enumerate(keys(genomes)):
        first.setdefault(key, i)
    return first
