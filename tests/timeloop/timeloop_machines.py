"""The machine and the layers of the recorded cases, with figures that no change of a template moves."""

from __future__ import annotations

import math

from coevo.accelerator.machine import Accelerator, Dataflow, Mac, Memory
from coevo.mapping import Mapping
from coevo.workload import OPERANDS, Layer


def machine(bits=(8, 8, 8)) -> Accelerator:
    """DRAM, a double-buffered buffer over 4 x 4 lanes, registers for weights over two multipliers a lane."""

    def memory(name, kind, holds, size_bits, read, write, **more):
        figures = {"words_per_access": 1, "double_buffered": False, "leakage_mw": 0.0, "area_mm2": 0.01} | more
        limits = {key: figures.pop(key, math.inf) for key in ("read_words_per_cycle", "write_words_per_cycle")}
        shared = figures.pop("words_per_cycle", math.inf)
        return Memory(
            name, kind, holds, size_bits, 8, read_energy_pj=read, write_energy_pj=write, words_per_cycle=shared,
            **limits, **figures,
        )  # fmt: skip

    return Accelerator(
        name="recorded",
        technology_nm=45,
        clock_mhz=500,
        bits=bits,
        memories=(
            memory("dram", "dram", OPERANDS, math.inf, 512.0, 512.0, words_per_access=8, words_per_cycle=4.0),
            memory(
                "buffer", "sram", OPERANDS, 16384 * 8, 24.0, 20.0, words_per_access=4, double_buffered=True,
                read_words_per_cycle=16.0, write_words_per_cycle=8.0, leakage_mw=0.3, fanout_x=4, fanout_y=4,
            ),
            memory("weight", "registers", ("weights",), 64 * 8, 0.2, 0.25, fanout_x=2, leakage_mw=0.001),
        ),
        mac=Mac(energy_pj=0.8, area_mm2=0.001, leakage_mw=0.002),
        dataflow=Dataflow("own", x=("m", "p"), y=("c", "m", "r")),
    )  # fmt: skip


CASES = {
    # A window that slides, with a stride; lanes that share inputs on a diagonal.
    "strided": (
        Layer("strided", "conv", m=8, c=6, p=8, q=7, r=3, s=3, stride=(2, 1)),
        (8, 8, 8),
        [
            {"memory": "dram", "temporal": ["m=2", "q=7"]},
            {"memory": "buffer", "temporal": ["c=2", "p=2"], "x": ["p=4"], "y": ["r=3"]},
            {"memory": "weight", "temporal": ["m=2", "s=3", "c=3"], "x": ["m=2"]},
        ],
    ),
    # Words of three widths, and m along columns and rows; c runs to 8 for 7, one of them idle.
    "widths": (
        Layer("widths", "conv", m=16, c=7, p=5, q=4, bits=(4, 6, None)),
        (8, 8, 16),
        [
            {"memory": "dram", "temporal": ["p=5"]},
            {"memory": "buffer", "temporal": ["c=4"], "x": ["m=4"], "y": ["m=2", "c=2"]},
            {"memory": "weight", "temporal": ["q=4"], "x": ["m=2"]},
        ],
    ),
    # Attention: groups of products of two activations.
    "attention": (
        Layer("attention", "matmul", g=3, m=10, c=16, p=10),
        (8, 8, 8),
        [
            {"memory": "dram", "temporal": ["g=3"]},
            {"memory": "buffer", "temporal": ["p=10"], "x": [], "y": ["c=4"]},
            {"memory": "weight", "temporal": ["c=4", "m=5"], "x": ["m=2"]},
        ],
    ),
}
"""Name: layer, the machine's bits, mapping."""


def mapping_of(name: str) -> Mapping:
    return Mapping.from_data(CASES[name][2])
