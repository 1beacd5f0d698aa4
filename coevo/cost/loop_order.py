"""The loops of many mappings in one order, so that their bounds are one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from coevo.mapping import LevelMapping, Mapping

Axis = Literal["temporal", "x", "y"]
AXES: tuple[Axis, ...] = ("temporal", "x", "y")


@dataclass(frozen=True)
class Place:
    """Where a loop stands.

    Attributes:
        dim: What it runs over.
        level: Index of its memory, 0 outermost.
        axis: ``temporal``, or the side of the fan-out below the memory that it spreads over.
    """

    dim: str
    level: int
    axis: Axis

    @property
    def spatial(self) -> bool:
        """Whether it spreads over lanes instead of time."""
        return self.axis != "temporal"


@dataclass(frozen=True)
class LoopOrder:
    """An order of loops; a mapping that lacks some of them has their bounds at 1.

    Attributes:
        memories: Names of the levels' memories, outermost first.
        places: The loops, innermost first; a level's spatial loops lie inside its temporal ones.
    """

    memories: tuple[str, ...]
    places: tuple[Place, ...]

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.memories)

    @staticmethod
    def common(mappings: Sequence[Mapping]) -> LoopOrder:
        """Returns an order that all mappings are of; loops that they nest differently stand in it more than once.

        Raises:
            ValueError: There is no mapping, or their levels differ.
        """
        if not mappings:
            raise ValueError("no mapping to score")
        memories = tuple(level.memory for level in mappings[0].levels)
        for mapping in mappings:
            if (found := tuple(level.memory for level in mapping.levels)) != memories:
                raise ValueError(f"mappings of different levels: {', '.join(memories)} and {', '.join(found)}")
        places: list[Place] = []
        for level in reversed(range(len(memories))):
            for axis in ("x", "y", "temporal"):
                side: tuple[str, ...] = ()
                for dims in sorted({_dims(mapping, level, axis) for mapping in mappings}, key=lambda x: (-len(x), x)):
                    side = _merged(side, dims)
                places += [Place(dim, level, axis) for dim in reversed(side)]
        return LoopOrder(memories, tuple(places))

    def bounds(self, mappings: Sequence[Mapping]) -> NDArray[np.float64]:
        """Returns the loop bounds of mappings ``(loop, mapping)``.

        Raises:
            ValueError: A mapping is not of this order.
        """
        result = np.ones((len(self.places), len(mappings)))
        for column, mapping in enumerate(mappings):
            if tuple(level.memory for level in mapping.levels) != self.memories:
                raise ValueError(f"mapping {column} does not have the levels {', '.join(self.memories)}")
            for level in range(self.levels):
                for axis in AXES:
                    self._set_side(result[:, column], mapping, level, axis, column)
        return result

    def _set_side(self, bounds: NDArray[np.float64], mapping: Mapping, level: int, axis: Axis, column: int) -> None:
        outwards = (i for i in reversed(range(len(self.places))) if self.places[i].level == level)
        side = (i for i in outwards if self.places[i].axis == axis)
        for dim, bound in getattr(mapping.levels[level], axis):
            place = next((i for i in side if self.places[i].dim == dim), None)
            if place is None:
                raise ValueError(f"mapping {column}: its {dim} loop at {self.memories[level]} is not of this order")
            bounds[place] = bound

    def mapping(self, bounds: Sequence[float] | NDArray[np.float64]) -> Mapping:
        """Returns the mapping of whole bounds ``(loop,)``; loops of bound 1 are left out."""
        levels = []
        for level, memory in enumerate(self.memories):
            loops: dict[Axis, list[tuple[str, int]]] = {axis: [] for axis in AXES}
            for place, bound in zip(reversed(self.places), reversed(bounds), strict=True):
                if place.level == level and round(bound) > 1:
                    loops[place.axis].append((place.dim, round(bound)))
            levels.append(LevelMapping(memory, *(tuple(loops[axis]) for axis in AXES)))
        return Mapping(tuple(levels))


def _dims(mapping: Mapping, level: int, axis: Axis) -> tuple[str, ...]:
    """The dims of one level's loops along an axis, outermost first."""
    return tuple(dim for dim, _ in getattr(mapping.levels[level], axis))


def _merged(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    """Returns a shortest sequence of which both are subsequences."""
    best: dict[tuple[int, int], tuple[str, ...]] = {}
    for i in reversed(range(len(ours) + 1)):
        for j in reversed(range(len(theirs) + 1)):
            if i == len(ours) or j == len(theirs):
                best[i, j] = (*ours[i:], *theirs[j:])
            elif ours[i] == theirs[j]:
                best[i, j] = (ours[i], *best[i + 1, j + 1])
            else:
                ours_first, theirs_first = (ours[i], *best[i + 1, j]), (theirs[j], *best[i, j + 1])
                best[i, j] = ours_first if len(ours_first) <= len(theirs_first) else theirs_first
    return best[0, 0]
