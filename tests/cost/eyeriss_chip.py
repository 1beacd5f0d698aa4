"""What was measured on the Eyeriss chip, and its published mappings as loop nests.

Source: Chen, Krishna, Emer, Sze, "Eyeriss: An Energy-Efficient Reconfigurable Accelerator for Deep Convolutional
Neural Networks", IEEE JSSC 52(1), 2017, tables III-VI (1 V, 200 MHz, 16 bit), read in a public transcription of its
tables (cucapra/fodlam, data/eyeriss-*.csv). Latency is *processing* latency: what DRAM could not hide is not in it.
"""

from __future__ import annotations

from math import ceil, prod
from typing import NamedTuple

from coevo.cost import evaluate_mapping
from coevo.mapping import LevelMapping, Mapping
from coevo.workload import Layer

CYCLES_PER_MS = 200e3
MB = 1e6
WORD_BYTES = 2
ARRAY = 1
"""Index of the global buffer, whose fan-out is the array."""


class Parameters(NamedTuple):
    """A mapping as the paper gives it (sec. IV and table IV).

    m: output channels whose sums are in the buffer; n: images in a pass; e: output rows of a PE set; p, q: filters and
    channels of a PE; r, t: PE sets side by side over channels and filters.
    """

    m: int
    n: int
    e: int
    p: int
    q: int
    r: int
    t: int


class Measured(NamedTuple):
    layer: Layer
    parameters: Parameters
    processing_ms: float
    active_pes: int
    buffer_mb: float
    dram_mb: float
    zeros: float  # share of the inputs


def _layer(name, n, groups, channels, filters, side, window, stride=1):
    return Layer(
        name, "conv", n=n, g=groups, m=filters // groups, c=channels, p=side, q=side, r=window, s=window,
        stride=(stride, stride),
    )  # fmt: skip


ALEXNET = (
    Measured(_layer("CONV1", 4, 1, 3, 96, 55, 11, 4), Parameters(96, 1, 7, 16, 1, 1, 2), 16.5, 154, 18.5, 5.0, 0.0001),
    Measured(_layer("CONV2", 4, 2, 48, 256, 27, 5), Parameters(64, 1, 27, 16, 2, 1, 1), 39.2, 135, 77.6, 4.0, 0.387),
    Measured(_layer("CONV3", 4, 1, 256, 384, 13, 3), Parameters(64, 4, 13, 16, 4, 1, 4), 21.8, 156, 50.2, 3.0, 0.725),
    Measured(_layer("CONV4", 4, 2, 192, 384, 13, 3), Parameters(64, 4, 13, 16, 3, 2, 2), 16.0, 156, 37.4, 2.1, 0.793),
    Measured(_layer("CONV5", 4, 2, 192, 256, 13, 3), Parameters(64, 4, 13, 16, 3, 2, 2), 10.0, 156, 24.9, 1.3, 0.776),
)
"""AlexNet, batch 4."""

CONV3_OF_THE_TRAFFIC = Parameters(64, 4, 13, 16, 3, 2, 2)
"""CONV3's published parameters give 69.2 MB of buffer accesses where 50.2 were measured; these, which are CONV4's and
CONV5's, give 50.2."""

# VGG-16's parameters are not in the table. These follow from what is, latency apart: active PEs (3 rows x e x r x t),
# sums in the buffer (p t rows of e x width words must fit in 100 KB: p = 4 and 8 in the widest layers), and measured
# buffer accesses (about 2 C / (q r) for every output).
_VGG = {
    1: Parameters(16, 1, 13, 4, 1, 1, 4),
    2: Parameters(32, 1, 13, 8, 1, 1, 4),
    3: Parameters(64, 1, 13, 16, 2, 1, 4),
    4: Parameters(64, 1, 14, 16, 4, 1, 4),
    5: Parameters(32, 3, 14, 16, 4, 2, 2),
}
VGG16 = tuple(
    Measured(_layer(f"CONV{block}-{i}", 3, 1, channels, filters, side, 3), _VGG[block], ms, pes, mb, dram, zeros)
    for block, i, channels, filters, side, ms, pes, mb, dram, zeros in (
        (1, 1, 3, 64, 224, 38.0, 156, 112.6, 15.4, 0.016),
        (1, 2, 64, 64, 224, 810.6, 156, 2402.8, 54.0, 0.477),
        (2, 1, 64, 128, 112, 405.3, 156, 1201.4, 33.4, 0.248),
        (2, 2, 128, 128, 112, 810.8, 156, 2402.8, 48.5, 0.387),
        (3, 1, 128, 256, 56, 204.0, 156, 607.4, 20.2, 0.397),
        (3, 2, 256, 256, 56, 408.1, 156, 1214.8, 32.2, 0.581),
        (3, 3, 256, 256, 56, 408.1, 156, 1214.8, 30.8, 0.587),
        (4, 1, 256, 512, 28, 105.1, 168, 321.8, 17.8, 0.643),
        (4, 2, 512, 512, 28, 210.0, 168, 643.7, 28.6, 0.747),
        (4, 3, 512, 512, 28, 210.0, 168, 643.7, 22.8, 0.854),
        (5, 1, 512, 512, 14, 48.3, 168, 90.0, 6.3, 0.794),
        (5, 2, 512, 512, 14, 48.5, 168, 90.0, 5.7, 0.874),
        (5, 3, 512, 512, 14, 48.5, 168, 90.0, 5.6, 0.885),
    )
)
"""VGG-16, batch 3."""


def mapping(layer: Layer, own: Parameters) -> Mapping:
    """The loop nest of a layer under the paper's parameters; a pass is what the filter spads' level encloses.

    A PE set that is wider than the array (CONV2: 27 rows) wraps around and takes more of its rows.
    """
    wide = min(own.e, 14)
    beside = own.t if wide * own.t <= 14 else 1  # PE sets of other filters lie beside, or else below
    return Mapping(
        (
            LevelMapping(
                "dram",
                _loops(
                    ("g", layer.g),
                    ("m", ceil(layer.m / own.m)),
                    ("p", ceil(layer.p / own.e)),
                    ("n", ceil(layer.n / own.n)),
                    ("c", ceil(layer.c / (own.q * own.r))),
                ),
            ),
            LevelMapping(
                "glb",
                _loops(("m", ceil(own.m / (own.p * own.t)))),
                x=_loops(("p", wide), ("m", beside)),
                y=_loops(("r", layer.r), ("p", ceil(own.e / wide)), ("c", own.r), ("m", own.t // beside)),
            ),
            LevelMapping("filter_spad", _loops(("n", own.n), ("q", layer.q))),
            LevelMapping("ifmap_spad", _loops(("c", min(own.q, layer.c)), ("s", layer.s))),
            LevelMapping("psum_spad", _loops(("m", own.p))),
        )
    )


def _loops(*loops):
    return tuple((dim, bound) for dim, bound in loops if bound > 1)


def processing_cycles(cost):
    """Cycles with DRAM left out: the slower of array, refills included, and on-chip memories."""
    return max(cost.compute_cycles, *cost.memory_cycles[ARRAY:])


def iterations(cost):
    """Compute cycles with refills left out: the temporal iterations of the nest."""
    return prod(bound for level in cost.mapping.levels for _, bound in level.temporal)


def run(machine, measured, parameters=None):
    """The cost of a measured layer under its own, or other, parameters."""
    return evaluate_mapping(measured.layer, machine, mapping(measured.layer, parameters or measured.parameters))


def buffer_mb(cost):
    """What the chip's table calls buffer accesses, array side only: inputs read, partial sums read and written.

    The chip reads partial sums in every pass, the first included, where the model leaves the first read out.
    """
    words = cost.reads[ARRAY, 1] + 2 * cost.writes[ARRAY, 2]
    return float(words) * WORD_BYTES / MB


def dram_mb(cost, zeros=(0.0, 0.0)):
    """DRAM traffic with inputs and outputs run-length compressed, given their shares of zeros.

    The chip packs three non-zero words, with the zeros before each, into 64 bits (JSSC, sec. V-E).
    """
    weights, inputs, outputs = (cost.reads[0] + cost.writes[0]).tolist()
    inputs, outputs = (
        words * min(1.0, (1 - share) * 64 / 48) for words, share in zip((inputs, outputs), zeros, strict=True)
    )
    return (weights + inputs + outputs) * WORD_BYTES / MB
