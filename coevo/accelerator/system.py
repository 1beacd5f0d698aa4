"""Heterogeneous accelerators: a `System` is several accelerators, its parts, on one chip with one DRAM.

As NASAIC has it (Yang et al., "Co-exploration of neural architectures and heterogeneous ASIC accelerator designs",
DAC 2020): sub-accelerators of different dataflows among which layers are assigned. Every layer runs on one part, which
has the whole bandwidth of the DRAM while no other runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from coevo.accelerator.check import Flaw
from coevo.accelerator.machine import Accelerator, Dataflow, Mac
from coevo.workload import DIMS


@dataclass(frozen=True)
class System(Accelerator):
    """Several accelerators on one chip that share its DRAM; made by `system_of`.

    As an `Accelerator` it is the chip as a whole, good for areas, names and reports: `memories` are the DRAM and then
    those on chip of every part, called ``<part>.<memory>``; `mac` is the mean multiplier, `clock_mhz` that in which
    the cycles of costs and the DRAM's bandwidth are counted, no slower than any part's. Layers are mapped on parts,
    never on the whole.

    Attributes:
        parts: The accelerators by label, in order; each has the DRAM as its outermost memory.
        shared_area_mm2: Area of what belongs to no part, in `other_area_mm2` [mm2].
    """

    parts: tuple[tuple[str, Accelerator], ...] = ()
    shared_area_mm2: float = 0.0

    @cached_property
    def instances(self) -> tuple[int, ...]:
        """Instances of each memory on the chip ``(memory,)``."""
        return (1, *(count for _, part in self.parts for count in part.instances[1:]))

    @property
    def pes(self) -> int:
        """Multipliers of all parts."""
        return sum(part.pes for _, part in self.parts)

    @cached_property
    def rows(self) -> Mapping[str, tuple[int, ...]]:
        """Where the memories of each part stand among those of the system, by label ``(part's memory,)``."""
        found, start = {}, 1
        for label, part in self.parts:
            inner = len(part.memories) - 1
            found[label] = (0, *range(start, start + inner))
            start += inner
        return found


def mapped_on(machine: Accelerator) -> dict[str, Accelerator]:
    """Returns the accelerators that layers are mapped on, by label: the parts, or the machine itself, of no label."""
    return dict(machine.parts) if isinstance(machine, System) else {"": machine}


def system_of(
    name: str,
    clock_mhz: float,
    parts: Mapping[str, Accelerator],
    shared_area_mm2: float = 0.0,
    choices: tuple[tuple[str, object], ...] = (),
) -> System:
    """Returns the system of some parts.

    Args:
        name: Of its template.
        clock_mhz: Clock in which the system's cycles are counted [MHz].
        parts: By label, at least one, of one technology, the same word bits and the same DRAM.
        shared_area_mm2: Area of what belongs to no part [mm2].
        choices: Recorded in the system.
    """
    machines = list(parts.values())
    first, pes = machines[0], sum(part.pes for part in machines)
    dram = first.memories[0]
    memories = [
        replace(
            dram,
            words_per_cycle=dram.words_per_cycle * first.clock_mhz / clock_mhz,
            fanout_x=1,
            fanout_y=1,
            systolic=False,
            loops=DIMS,
        ),
        *(replace(m, name=f"{label}.{m.name}") for label, part in parts.items() for m in part.memories[1:]),
    ]
    return System(
        name=name,
        technology_nm=first.technology_nm,
        clock_mhz=clock_mhz,
        bits=first.bits,
        memories=tuple(memories),
        mac=Mac(
            energy_pj=sum(part.mac.energy_pj * part.pes for part in machines) / pes,
            area_mm2=sum(part.mac.area_mm2 * part.pes for part in machines) / pes,
            leakage_mw=sum(part.mac.leakage_mw * part.pes for part in machines) / pes,
        ),
        dataflow=Dataflow(" + ".join(part.dataflow.name for part in machines), (), ()),
        other_area_mm2=shared_area_mm2 + sum(part.other_area_mm2 for part in machines),
        choices=choices,
        parts=tuple(parts.items()),
        shared_area_mm2=shared_area_mm2,
    )


def system_flaw(clock_mhz: float, shared_area_mm2: float, parts: Mapping[str, Accelerator]) -> Flaw | None:
    """Returns the first thing that parts, each well by itself, cannot have beside each other; None if all is well."""
    if not 0 < clock_mhz < math.inf:
        return ("clock_mhz",), f"must be positive and finite, got {clock_mhz:g}"
    if not 0 <= shared_area_mm2 < math.inf:
        return ("shared_area_mm2",), f"must be finite and not negative, got {shared_area_mm2:g}"
    first = next(iter(parts.values()))
    flaws = (
        (("parts", label, *path), text) for label, x in parts.items() for path, text in _beside(x, first, clock_mhz)
    )
    return next(flaws, None)


def _beside(part: Accelerator, first: Accelerator, clock_mhz: float) -> Iterator[Flaw]:
    """What a part cannot have beside the first on a chip of a clock."""
    for field in ("technology_nm", "bits"):
        if getattr(part, field) != getattr(first, field):
            yield (field,), f"must be that of the other parts, {getattr(first, field)}, got {getattr(part, field)}"
    if part.clock_mhz > clock_mhz:
        yield ("clock_mhz",), f"{part.clock_mhz:g} is faster than the chip's {clock_mhz:g}"
    if part.memories[0].kind != "dram" or len(part.memories) < 2:
        yield ("memories",), "must list the shared DRAM and a memory on chip or more"
    rate, shared = (x.memories[0].words_per_cycle * x.clock_mhz for x in (part, first))
    if rate != shared and not math.isclose(rate, shared):
        place = ("memories", 0, "words_per_cycle")
        yield place, f"the parts share one DRAM, but this gives {rate:g} million words a second, not {shared:g}"
