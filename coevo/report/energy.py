"""Where the energy of layers goes: by memory, in the multipliers, in leakage."""

from __future__ import annotations

from collections.abc import Sequence

from coevo.accelerator.machine import Accelerator
from coevo.design import LayerCost

MULTIPLIERS = "multipliers"
LEAKAGE = "leakage"
OTHER = "other"

_UNITS = ((1e12, "J"), (1e9, "mJ"), (1e6, "uJ"), (1e3, "nJ"), (1.0, "pJ"))


def energy_parts(costs: Sequence[LayerCost], machine: Accelerator) -> dict[str, float]:
    """Returns the energy of layers by part [pJ]; the parts sum to the layers' total.

    Args:
        costs: The layers, on ``machine``.
        machine: The machine.

    Returns:
        Every memory from DRAM inwards, ``multipliers``, ``leakage`` and, where a model counts more than these,
        ``other``.
    """
    parts = {memory.name: float(sum(x.energy_pj[i].sum() for x in costs)) for i, memory in enumerate(machine.memories)}
    parts[MULTIPLIERS] = sum(x.mac_energy_pj for x in costs)
    parts[LEAKAGE] = sum(x.leakage_pj for x in costs)
    total = sum(x.total_energy_pj for x in costs)
    rest = total - sum(parts.values())
    # What is left is rounding unless the model counts more, such as networks between memories.
    return parts | ({OTHER: rest} if rest > 1e-9 * total else {})


def ratio(part: float, whole: float) -> float:
    """Returns ``part / whole``; 0 of nothing, as on a machine whose file gives no energy at all."""
    return part / whole if whole else 0.0


def energy_unit(energy_pj: float) -> tuple[float, str]:
    """Returns (pJ per unit, unit) in which an energy has 1 to 3 digits before the point, where there is one."""
    return next(((size, unit) for size, unit in _UNITS if energy_pj >= size), _UNITS[-1])
