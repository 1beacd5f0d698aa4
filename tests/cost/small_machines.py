"""Machines and layers small enough to reason about, and a plain simulation of a nest."""

from __future__ import annotations

import itertools
import math

import numpy as np

from coevo.accelerator.machine import DATAFLOWS, Accelerator, Dataflow, Mac, Memory
from coevo.cost.nest import Loop
from coevo.workload import OPERANDS, Layer

ALL = OPERANDS


def memory(name, kind, holds, size_bits=math.inf, fanout=(1, 1), **figures):
    defaults = {
        "word_bits": 16,
        "words_per_access": 1,
        "read_words_per_cycle": math.inf,
        "write_words_per_cycle": math.inf,
        "words_per_cycle": math.inf,
        "double_buffered": False,
        "read_energy_pj": 1.0,
        "write_energy_pj": 1.0,
        "leakage_mw": 0.0,
        "area_mm2": 0.0 if kind == "dram" else 0.1,
    }
    return Memory(name, kind, holds, size_bits, fanout_x=fanout[0], fanout_y=fanout[1], **(defaults | figures))


def three_levels(buffer_words=256, rows=4, columns=4, flow="weight_stationary", **dram):
    """DRAM, one buffer for all operands, a register per operand in every PE."""
    return Accelerator(
        name="three_levels",
        technology_nm=45,
        clock_mhz=100,
        bits=(16, 16, 16),
        memories=(
            memory("dram", "dram", ALL, read_energy_pj=200.0, write_energy_pj=200.0, **dram),
            memory("buffer", "sram", ALL, buffer_words * 16, (columns, rows), read_energy_pj=6.0, write_energy_pj=6.0),
            memory("weight", "registers", ("weights",), 16),
            memory("input", "registers", ("inputs",), 16),
            memory("sum", "registers", ("outputs",), 16),
        ),
        mac=Mac(energy_pj=1.0, area_mm2=0.01),
        dataflow=flow if isinstance(flow, Dataflow) else DATAFLOWS[flow],
    )


def random_layer(rng: np.random.Generator, top: int = 12) -> Layer:
    sizes = [1, 1, 2, 3, 4, 6, 8, 12]
    sizes = [s for s in sizes if s <= top]
    pick = lambda: int(rng.choice(sizes))  # noqa: E731
    stride = int(rng.choice([1, 1, 2]))
    kernel = int(rng.choice([1, 3]))
    if rng.random() < 0.3:
        return Layer("dw", "conv", g=pick(), p=pick(), q=pick(), r=kernel, s=kernel, stride=(stride, stride))
    return Layer("dense", "conv", m=pick(), c=pick(), p=pick(), q=pick(), r=kernel, s=kernel, stride=(stride, stride))


def array_loop(dim, bound, level, spatial=False):
    return Loop(dim, np.full((1, 1), float(bound)), level, spatial)


def simulated_sweep(operand, extent, temporal, stride, dilation):
    """Words taken in by a memory that remembers one tile, by walking every iteration.

    Args:
        extent: Iterations per dim inside the tile.
        temporal: (dim, bound) outside it, innermost first.
    """
    total, before = 0, None
    for indices in itertools.product(*(range(bound) for _, bound in reversed(temporal))):
        start = dict.fromkeys("ngmcpqrs", 0)
        scale = dict(extent)
        for (dim, bound), index in zip(temporal, reversed(indices), strict=True):
            start[dim] += index * scale.get(dim, 1)
            scale[dim] = scale.get(dim, 1) * bound
        box = _box(operand, start, extent, stride, dilation)
        total += _volume(box) - (_volume(_meet(box, before)) if before is not None else 0)
        before = box
    return total


def _box(operand, start, extent, stride, dilation):
    side = lambda dim: (start[dim], start[dim] + extent.get(dim, 1))  # noqa: E731

    def slide(out, tap, axis):
        low = start[out] * stride[axis] + start[tap] * dilation[axis]
        reach = (extent.get(out, 1) - 1) * stride[axis] + (extent.get(tap, 1) - 1) * dilation[axis]
        return low, low + reach + 1

    if operand == "weights":
        return [side(dim) for dim in "gmcrs"]
    if operand == "outputs":
        return [side(dim) for dim in "ngmpq"]
    return [*(side(dim) for dim in "ngc"), slide("p", "r", 0), slide("q", "s", 1)]


def _meet(a, b):
    return [(max(x[0], y[0]), min(x[1], y[1])) for x, y in zip(a, b, strict=True)]


def _volume(box):
    return math.prod(max(0, high - low) for low, high in box)
