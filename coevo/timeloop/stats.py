"""Reads what Timeloop wrote: figures in ``timeloop-*.stats.txt``, mappings in ``timeloop-mapper.map.yaml``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coevo.library import parse_yaml
from coevo.mapping import LevelMapping, Loop
from coevo.mapping import Mapping as LoopMapping
from coevo.timeloop.form import LETTERS

_CYCLES = re.compile(r"^Cycles: (\d+)\s*$", re.MULTILINE)
_PART = re.compile(r"^(?:=== (?P<level>\S+) ===|(?P<network>\S+) <==> \S+)\s*$")
_TENSOR = re.compile(r"^ {4}(?P<tensor>Weights|Inputs|Outputs):\s*$")
_ENERGY = re.compile(r"^ +(?P<what>[\w ]*[Ee]nergy) \(total\) *: (?P<pj>[0-9.eE+-]+) pJ\s*$")
_DIMS = {letter: dim for dim, letter in LETTERS.items()}

LEAKAGE = "leakage"
"""Stands for a tensor in `Stats.energies_pj`."""


@dataclass(frozen=True)
class Stats:
    """What Timeloop says of one layer.

    Attributes:
        cycles: Of the layer.
        energies_pj: By level and tensor [pJ], that of the network below the level included; the tensor of what a
            level leaks is `LEAKAGE`, that of the operations empty.
    """

    cycles: int
    energies_pj: Mapping[tuple[str, str], float]

    @property
    def energy_pj(self) -> float:
        """Energy in all [pJ]."""
        return sum(self.energies_pj.values())


def read_stats(text: str) -> Stats:
    """Reads a ``stats.txt``: the summary's cycles, and all totals of energy, which are given to a hundredth of a pJ.

    The summary's own energy has but two digits after the point of a uJ.

    Raises:
        ValueError: The text does not give them.
    """
    energies: dict[tuple[str, str], float] = {}
    level = tensor = ""
    for line in text.splitlines():
        if part := _PART.match(line):
            level, tensor = part["level"] or part["network"], ""
        elif found := _TENSOR.match(line):
            tensor = found["tensor"]
        elif total := _ENERGY.match(line):
            key = level, LEAKAGE if total["what"].startswith("Leakage") else tensor
            energies[key] = energies.get(key, 0.0) + float(total["pj"])
    cycles = _CYCLES.findall(text)
    if not cycles or not energies:
        raise ValueError("Timeloop's stats give no cycles or no energies")
    return Stats(int(cycles[-1]), energies)


def read_mapping(text: str, names: list[str]) -> LoopMapping:
    """Reads a mapping as the mapper writes it.

    Args:
        text: Of a ``map.yaml``.
        names: Of the machine's memories, outermost first.

    Raises:
        ValueError: The text is not a mapping of such a machine; loops over pieces of words are left out.
    """
    directives = parse_yaml(text, "map.yaml").data.get("mapping")
    if not isinstance(directives, list):
        raise ValueError("Timeloop's map.yaml has no list `mapping`")
    loops: dict[str, dict[str, tuple[Loop, ...]]] = {name: {} for name in names}
    for directive in directives:
        target = directive.get("target") if isinstance(directive, dict) else None
        if target not in loops:
            raise ValueError(f"Timeloop's map.yaml names the level {target!r}, which the machine has not")
        if directive.get("type") == "temporal":
            loops[target]["temporal"] = _loops(directive)[::-1]
        elif directive.get("type") == "spatial":
            split = int(directive.get("split", len(str(directive.get("permutation", "")))))
            loops[target]["x"] = _loops(directive, stop=split)
            loops[target]["y"] = _loops(directive, start=split)
    return LoopMapping(tuple(LevelMapping(name, **loops[name]) for name in names))


def _loops(directive: dict[str, Any], start: int = 0, stop: int | None = None) -> tuple[Loop, ...]:
    """The directive's loops that iterate, from the inside out, of those places of its permutation."""
    factors = dict(re.findall(r"([A-Z])\s*=?\s*(\d+)", str(directive.get("factors", ""))))
    order = str(directive.get("permutation", "")).replace(" ", "")[start:stop]
    pairs = [(_DIMS[letter], int(factors.get(letter, 1))) for letter in order if letter in _DIMS]
    return tuple((dim, bound) for dim, bound in pairs if bound > 1)
