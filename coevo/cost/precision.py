"""What operands of other widths than the machine's mean for its multipliers.

In memories a word has the layer's bits: narrower words are packed, so energy per word, capacity and bandwidth follow
the width. Outputs keep the machine's own width (`Layer.bits` says None): what a layer writes are sums, which do not
get narrower with the operands, and a word has one width at all levels. So an activation is counted at the machine's
width where it is written and at its own where it is read, which is no less than what a machine takes that rounds
before it writes.

A multiplier is as wide as the machine's words. By default it takes its own energy whatever it multiplies. One that is
``precision_scalable`` leaves the unused bits idle (data gating: V. Camus, L. Mei, C. Enz, M. Verhelst, "Review and
benchmarking of precision-scalable multiply-accumulate unit architectures", IEEE JETCAS 9(4), 2019, there without
the overhead of gating): energy scales by the curve of plain multipliers, `coevo.accelerator.technology.mac`. That it
might do several narrow products in one cycle (H. Sharma et al., "Bit Fusion", ISCA 2018) is not modelled. Operands
that are wider than the multiplier are refused: the design is infeasible.
"""

from __future__ import annotations

from coevo.accelerator import technology
from coevo.accelerator.machine import Accelerator
from coevo.workload import OPERANDS, Layer


def mac_energy_pj(layer: Layer, machine: Accelerator) -> float:
    """Returns the energy of one of a layer's operations [pJ]."""
    own = machine.mac.energy_pj
    if layer.bits is None or not machine.mac.precision_scalable:
        return own
    (weights, inputs, _), (wide, long, _) = machine.bits_of(layer), machine.bits
    here, there = (technology.mac(*bits, machine.technology_nm) for bits in ((weights, inputs), (wide, long)))
    return own * here.energy_pj / there.energy_pj


def too_wide(layer: Layer, machine: Accelerator) -> tuple[float, str] | None:
    """Returns why the multipliers cannot take a layer's operands, None if they can.

    Returns:
        Relative excess (> 0) of the widest operand, and operand, width and what the multipliers take.
    """
    if layer.bits is None or not layer.has_weights:
        return None
    widths = zip(OPERANDS[:2], machine.bits_of(layer), machine.bits, strict=False)
    excess, operand, own, most = max((own / most - 1, operand, own, most) for operand, own, most in widths)
    if excess <= 0:
        return None
    return excess, f"its {operand} have {own} bits, the multipliers of {machine.name} take {most} (word_bits)"
