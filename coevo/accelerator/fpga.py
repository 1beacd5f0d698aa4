"""What a machine takes of an FPGA: DSP slices for its multipliers, block RAMs for its memories.

AMD UltraScale+ (DSP48E2, RAMB18E2); other families differ in the widths. Estimates before synthesis: control, registers
and their look-up tables are not counted, and a tool may put small memories elsewhere.
"""

from __future__ import annotations

import math

from coevo.accelerator.machine import Accelerator, Memory

_DSP_BITS = (27, 18)
"""Widths of a DSP48E2's signed multiplier [bit] (AMD UG579, "UltraScale Architecture DSP Slice")."""

_PACKED_BITS = 8
"""Up to this width [bit] two products that share an operand fit one slice (Fu et al., "Deep Learning with INT8
Optimization on Xilinx Devices", Xilinx WP486, 2016)."""

_SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""Words by bits of a block of 18 Kb with one port to read and one to write (AMD UG573, "Memory Resources")."""


def dsp_slices(machine: Accelerator) -> int:
    """Returns how many DSP slices the multipliers take.

    Wide operands are cut: the top piece is signed, each further one fills the port but for its sign bit.
    """
    weights, inputs, _ = machine.bits
    wide, narrow = max(weights, inputs), min(weights, inputs)
    if wide <= _PACKED_BITS:
        return math.ceil(machine.pes / 2)
    pieces = [max(1, math.ceil((bits - 1) / (port - 1))) for bits, port in zip((wide, narrow), _DSP_BITS, strict=True)]
    return machine.pes * math.prod(pieces)


def block_rams(machine: Accelerator) -> int:
    """Returns how many block RAMs of 18 Kb the memories that are ``sram`` take; registers are flip-flops or tables."""
    return sum(
        count * _blocks(memory)
        for memory, count in zip(machine.memories, machine.instances, strict=True)
        if memory.kind == "sram"
    )


def _blocks(memory: Memory) -> int:
    """Blocks of one instance: as wide as an access, as deep as that leaves it, in the shape that takes the fewest."""
    width = memory.word_bits * memory.words_per_access
    depth = math.ceil(memory.size_bits / width)
    return min(math.ceil(depth / words) * math.ceil(width / bits) for words, bits in _SHAPES)
