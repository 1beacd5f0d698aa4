"""The roofline of a machine and where layers lie under it, as numbers and as text.

Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore architectures",
Communications of the ACM 52(4), 2009: what runs at i operations per byte of off-chip traffic runs at no more than
min(peak, i x bandwidth).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.machine import Accelerator
from coevo.design import LayerCost
from coevo.report.energy import energy_parts, ratio
from coevo.report.loop_nest import shape
from coevo.report.tables import aligned, csv_text

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Roofline:
    """A machine's roofs and the layers under them.

    Attributes:
        memory: Name of what is off chip (names, joined by ``+``), e.g. ``dram``.
        peak: Operations of all multipliers [1/cycle].
        bandwidth: Most bytes that cross the chip's border [byte/cycle]; infinite where unlimited.
        intensity: Operations per off-chip byte ``(layer,)``; infinite for a layer that moves none.
        rate: Operations per cycle ``(layer,)``.
    """

    memory: str
    peak: float
    bandwidth: float
    intensity: Array
    rate: Array

    @property
    def ridge(self) -> float:
        """Operations per byte from which on the multipliers can be the limit; 0 where bandwidth is unlimited."""
        return self.peak / self.bandwidth

    def roof(self, intensity: Array) -> Array:
        """Returns the most operations per cycle at intensities (any shape)."""
        if math.isinf(self.bandwidth):
            return np.full_like(intensity, self.peak)
        return np.minimum(self.peak, intensity * self.bandwidth)


def roofline(costs: Sequence[LayerCost], machine: Accelerator) -> Roofline:
    """Returns the roofs of a machine and the layers' places under them.

    Off chip is every memory of kind ``dram``, else the outermost one. Where reads and writes have bandwidths of
    their own, the roof is that of a layer that uses both to the full.
    """
    outside = [i for i, memory in enumerate(machine.memories) if memory.kind == "dram"] or [0]
    operations = np.array([x.layer.operations for x in costs], dtype=np.float64)
    moved = np.array([_bytes(x, machine, outside) for x in costs])
    with np.errstate(divide="ignore"):
        intensity = operations / moved
    return Roofline(
        memory="+".join(machine.memories[i].name for i in outside),
        peak=float(machine.pes),
        bandwidth=sum(_bandwidth(machine, i) for i in outside),
        intensity=intensity,
        rate=operations / np.array([x.cycles for x in costs]),
    )


def _bytes(cost: LayerCost, machine: Accelerator, memories: Sequence[int]) -> float:
    words = (cost.reads + cost.writes)[list(memories)].sum(axis=0)
    return float(words @ np.array(machine.bits_of(cost.layer))) / 8


def _bandwidth(machine: Accelerator, memory: int) -> float:
    it = machine.memories[memory]
    return min(it.words_per_cycle, it.read_words_per_cycle + it.write_words_per_cycle) * it.word_bits / 8


def bounds_text(costs: Sequence[LayerCost], machine: Accelerator) -> str:
    """Returns what bounds the layers, as a table: their number and share of cycles and energy by bound; the roofs."""
    found = roofline(costs, machine)
    cycles, energy = sum(x.cycles for x in costs), sum(x.total_energy_pj for x in costs)
    rows: list[Sequence[str]] = [("bound by", "layers", "of cycles", "of energy", "busy")]
    for name in bounds(costs, machine):
        some = [x for x in costs if x.bound_by == name]
        spent = sum(x.cycles for x in some)
        used = ratio(sum(x.total_energy_pj for x in some), energy)
        busy = sum(x.layer.operations for x in some) / (machine.pes * spent)
        rows.append((name, str(len(some)), f"{spent / cycles:.1%}", f"{used:.1%}", f"{busy:.1%}"))
    return "\n".join(("what bounds the layers:", aligned(rows), _roofs(found)))


def _roofs(found: Roofline) -> str:
    if math.isinf(found.bandwidth):
        return f"roofline: {found.peak:,.0f} operations/cycle; {found.memory} has unlimited bandwidth"
    return (
        f"roofline: {found.peak:,.0f} operations/cycle, {found.memory} {found.bandwidth:.4g} bytes/cycle; "
        f"they meet at {found.ridge:.4g} operations/byte"
    )


def bounds(costs: Sequence[LayerCost], machine: Accelerator) -> list[str]:
    """Returns the distinct ``bound_by`` of layers, compute first, then memories from DRAM inwards, then any other."""
    present = {x.bound_by for x in costs}
    order = ["compute", *(memory.name for memory in machine.memories)]
    return [name for name in order if name in present] + sorted(present - set(order))


def layers_csv(costs: Sequence[LayerCost], machine: Accelerator) -> str:
    """Returns a row per layer with all that the figures show, units in the columns' names."""
    found = roofline(costs, machine)
    parts = energy_parts(costs, machine)
    head = ["number", "layer", "kind", "shape", "operations", "cycles", "bound_by", "utilization"]
    rates = ["operations_per_offchip_byte", "operations_per_cycle"]
    rows = []
    for i, x in enumerate(costs):
        own = energy_parts([x], machine)
        figures = [x.cycles, x.bound_by, x.utilization, float(found.intensity[i]), float(found.rate[i])]
        energies = [x.total_energy_pj, *(own.get(name, 0.0) for name in parts)]
        rows.append([i + 1, x.layer.name, x.layer.kind, shape(x.layer), x.layer.operations, *figures, *energies])
    return csv_text([*head, *rates, "energy_pj", *(f"energy_{name}_pj" for name in parts)], rows)
