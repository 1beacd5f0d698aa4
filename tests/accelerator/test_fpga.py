"""DSP slices and block RAMs: known by hand from the data sheets' widths."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coevo.accelerator import load_template
from coevo.accelerator.fpga import block_rams, dsp_slices
from coevo.experiment import load_experiment

ZU3EG = load_template("zu3eg").build({})


@pytest.mark.parametrize(
    ("bits", "slices"),
    [
        ((8, 8, 8), 256),  # two products share a slice
        ((4, 8, 8), 256),
        ((8, 9, 8), 512),
        ((16, 16, 16), 512),
        ((18, 27, 16), 512),  # the multiplier's own widths
        ((19, 27, 16), 1024),
        ((32, 32, 32), 2048),  # 27 + 26 by 18 + 17
        ((36, 36, 32), 3072),  # 27 + 26 by 18 + 17 + 17: one bit too many for two
    ],
)
def test_a_multiplier_takes_as_many_slices_as_its_operands_have_pieces(bits, slices):
    assert ZU3EG.pes == 512
    assert dsp_slices(replace(ZU3EG, bits=bits)) == slices


@pytest.mark.parametrize(
    ("words_per_access", "size_bits", "blocks"),
    [
        (1, 18 * 1024, 2),  # 18 Kb of bytes: 2,304 words of 8 in blocks of 2,048 by 9
        (1, 2048 * 8, 1),
        (4, 512 * 32, 1),  # 512 words of 32 bits
        (4, 513 * 32, 2),
        (64, 64 * 8, 15),  # one access of 512 bits takes 15 ports of 36
        (32, 128 * 8192, 58),  # 4,096 words of 256 bits: 2 x 29 of 2,048 by 9, fewer than 64 of 4,096 by 4
    ],
)
def test_a_memory_takes_blocks_by_width_and_depth(words_per_access, size_bits, blocks):
    one = replace(ZU3EG.memories[1], words_per_access=words_per_access, size_bits=size_bits)
    rest = tuple(memory for memory in ZU3EG.memories if memory.kind != "sram")
    machine = replace(ZU3EG, memories=(rest[0], one, *rest[1:]))
    assert block_rams(machine) == blocks


def test_registers_and_dram_take_none_and_every_instance_counts():
    outer, inputs, _, outputs, held = ZU3EG.memories
    inner = replace(inputs, size_bits=512 * 32, words_per_access=4)
    machine = replace(ZU3EG, memories=(outer, replace(outputs, fanout_x=3, fanout_y=5), replace(inner, fanout_x=2)))
    alone = replace(ZU3EG, memories=(outer, replace(outputs, fanout_x=3, fanout_y=5)))
    assert block_rams(machine) - block_rams(alone) == 15
    assert block_rams(replace(ZU3EG, memories=(outer, held))) == 0


def test_an_experiment_that_names_them_is_bound_by_them_and_no_other_computes_them():
    fpga = load_experiment("digits_fpga").plan
    assert {"dsps", "brams"} <= {quantity.column for quantity in fpga.header.quantities}
    assert not {"dsps", "brams"} & {q.column for q in load_experiment("quickstart").plan.header.quantities}


def test_the_shipped_machine_fits_its_device():
    assert dsp_slices(ZU3EG) <= 360
    assert block_rams(ZU3EG) <= 432
