"""How a layer runs on an accelerator: a `Mapping` gives each memory its loops, outermost memory first.

The temporal loops of a level fetch tiles from that level's memory, one after the other; its spatial loops lie
inside them and spread tiles over the fan-out below the memory. A tile of a level is all that the loops of this
level and of those further in touch. So the loops of the innermost level feed the multipliers directly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass

from coevo.workload import DIMS

Loop = tuple[str, int]
"""(dim, bound)."""


@dataclass(frozen=True)
class LevelMapping:
    """The loops of one memory.

    Attributes:
        memory: Name of the memory.
        temporal: Loops over time, outermost first; bounds of 1 are left out.
        x, y: Loops spread over the fan-out's columns (x) and rows (y) below the memory.
    """

    memory: str
    temporal: tuple[Loop, ...] = ()
    x: tuple[Loop, ...] = ()
    y: tuple[Loop, ...] = ()

    def extent(self, dim: str) -> int:
        """Product of this level's loop bounds over ``dim``."""
        return math.prod(bound for name, bound in (*self.temporal, *self.x, *self.y) if name == dim)


@dataclass(frozen=True)
class Mapping:
    """The loops of every memory, outermost first.

    Along a dim, the product of all bounds is at least the layer's bound; where it is more, the surplus
    iterations are idle: they take cycles and move words, but compute nothing.

    Attributes:
        levels: One per memory of the accelerator, in its order.
    """

    levels: tuple[LevelMapping, ...]

    def extents(self) -> tuple[int, ...]:
        """Product of all loop bounds per dim ``(dim,)``, in the order of `DIMS`."""
        return tuple(math.prod(level.extent(dim) for level in self.levels) for dim in DIMS)

    def to_data(self) -> list[dict[str, object]]:
        """Returns the mapping as plain data for YAML; `from_data` reads it back."""
        return [
            {"memory": level.memory}
            | {
                axis: [f"{dim}={bound}" for dim, bound in getattr(level, axis)]
                for axis in ("temporal", "x", "y")
                if getattr(level, axis)
            }
            for level in self.levels
        ]

    @staticmethod
    def from_data(data: Iterable[MappingABC[str, object]]) -> Mapping:
        """Reads what `to_data` wrote.

        Raises:
            ValueError: A level or loop is not of that form.
        """
        return Mapping(tuple(_level(entry) for entry in data))


def _level(entry: MappingABC[str, object]) -> LevelMapping:
    unknown = set(entry) - {"memory", "temporal", "x", "y"}
    if unknown or not isinstance(entry.get("memory"), str):
        raise ValueError(f"a mapping level has the keys memory, temporal, x, y; got {sorted(entry)}")
    return LevelMapping(str(entry["memory"]), *(_loops(entry.get(axis, [])) for axis in ("temporal", "x", "y")))


def _loops(entries: object) -> tuple[Loop, ...]:
    if not isinstance(entries, list):
        raise ValueError(f"loops are a list such as [m=4, p=7], not {entries!r}")
    loops = []
    for entry in entries:
        dim, _, bound = str(entry).partition("=")
        if dim not in DIMS or not bound.isdecimal() or int(bound) < 1:
            raise ValueError(f"a loop reads dim=bound with dim one of {' '.join(DIMS)} and bound >= 1, not {entry!r}")
        loops.append((dim, int(bound)))
    return tuple(loops)
