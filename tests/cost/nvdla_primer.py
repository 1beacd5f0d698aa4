"""NVDLA's seven published sizes, ResNet-50 as it runs there, and the schedules that its control can run.

Sources
    [primer]   NVDLA primer (nvdla/doc, doc/primer.rst), table "Example area and performance": synthesis estimates.
    [estimate] NVIDIA's own estimator for that table (nvdla/hw, perf/NVDLA_OpenSource_Performance.xlsx, sheet
               ResNet50): time of a layer = the longer of multiplying and moving, over DRAM alone; pooling, batch norm
               and addition ride along with convolutions; a window with a stride is stored with its pixels as channels.
    [compiler] NVDLA's compiler (nvdla/sw, ConvCoreNode, splitNodesInternal): a convolution is split into strips of
               rows and groups of filters; weights that are not kept whole stream through the buffer in two groups of
               filters (ping-pong).
    [spec]     nvdla/hw, spec/defs: multipliers as input channels x filters: nv_large 64 x 32, nv_medium_1024_full
               64 x 16, nv_medium_512 32 x 16, nv_small_256 32 x 8, nv_small 8 x 8. Of 128 and 32, for which there is
               no file, 16 x 8 and 8 x 4, the smallest the primer allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from coevo.accelerator import load_template
from coevo.cost import evaluate_mapping
from coevo.mapping import LevelMapping, Mapping
from coevo.workload import DIMS, Layer


class Size(NamedTuple):
    macs: int
    channels: int
    filters: int
    buffer_kib: int
    dram_gb_s: float
    area_28nm_mm2: float
    area_16nm_mm2: float
    frames_s: float


SIZES = (
    Size(2048, 64, 32, 512, 20, 5.5, 3.3, 269),
    Size(1024, 64, 16, 256, 15, 3.0, 1.8, 153),
    Size(512, 32, 16, 256, 10, 2.3, 1.4, 93),
    Size(256, 32, 8, 256, 5, 1.7, 1.0, 46),
    Size(128, 16, 8, 256, 2, 1.4, 0.84, 20),
    Size(64, 8, 8, 128, 1, 0.91, 0.55, 7.3),
    Size(32, 8, 4, 128, 0.5, 0.85, 0.51, 3.6),
)


def machine(size):
    """The shipped template at one of the sizes; 1 GHz and int8, so GB/s are words a cycle."""
    return load_template("nvdla", vary={}).build(
        {
            "memories.conv_buffer.fanout.x": size.filters,
            "memories.accumulators.fanout.y": size.channels,
            "memories.conv_buffer.size_kib": size.buffer_kib,
            "memories.dram.words_per_cycle": size.dram_gb_s,
        }
    )


def without_rules(nvdla):
    """The machine if every memory could run any loop."""
    return replace(nvdla, memories=tuple(replace(memory, loops=DIMS) for memory in nvdla.memories))


def resnet50() -> list[tuple[Layer, int]]:
    """53 convolutions and the classifier of ResNet-50 (224 x 224, the stride in a stage's first 1 x 1, as in Caffe).

    Returns:
        (layer, words of the residual that is added to its outputs). A layer of stride S and window R is stored, and
        runs, as one of stride 1 and window ceil(R/S) over S x S times the channels [estimate].
    """
    layers = [(_conv("conv1", 3, 64, 112, 7, 2), 0)]
    channels, side = 64, 56
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=2):
        for block in range(blocks):
            stride = 2 if stage > 2 and block == 0 else 1
            side //= stride
            name = f"res{stage}{chr(ord('a') + block)}"
            if block == 0:
                layers.append((_conv(f"{name}_1", channels, 4 * width, side, 1, stride), 0))
            layers.append((_conv(f"{name}_2a", channels, width, side, 1, stride), 0))
            layers.append((_conv(f"{name}_2b", width, width, side, 3, 1), 0))
            layers.append((_conv(f"{name}_2c", width, 4 * width, side, 1, 1), 4 * width * side**2))
            channels = 4 * width
    return [*layers, (Layer("fc1000", "linear", m=1000, c=2048), 0)]


def _conv(name, channels, filters, side, window, stride):
    taps = -(-window // stride)
    return Layer(name, "conv", m=filters, c=channels * stride**2, p=side, q=side, r=taps, s=taps)


def fastest_schedule(layer, nvdla):
    """The cost of the fastest schedule that the chip's control can run."""
    costs = [evaluate_mapping(layer, nvdla, mapping) for mapping in schedules(layer, nvdla)]
    return min(costs, key=lambda cost: (cost.cycles, cost.total_energy_pj))


def schedules(layer, nvdla) -> Iterator[Mapping]:
    """The splits [compiler] of a layer: for any number of groups of filters, the fewest strips that fit beside them.

    Groups and strips may loop in either order; an accumulator may serve one row or several at a time. Sums stay there
    until they are complete.
    """
    lanes = nvdla.memories[1].fanout_x
    kernels = -(-layer.m // lanes)
    for groups in sorted({-(-kernels // each) for each in (1, 2, 4, 8, 16, 32, 64, kernels)}):
        held = -(-kernels // groups) + (0 if groups == 1 else 1)  # the next one comes while the last is in use
        room = nvdla.memories[1].size_bits // 8 - held * lanes * layer.c * layer.r * layer.s
        for rows_at_once in (True, False):
            strips = _fewest_strips(layer, nvdla, room, rows_at_once)
            if strips is not None:
                for weights_first in (True, False):
                    yield _mapping(layer, nvdla, groups, strips, weights_first, rows_at_once)


def _fewest_strips(layer, nvdla, room, rows_at_once):
    """(strips of rows, parts of a row) whose inputs fit into so many words; None if none do."""
    whole_rows = [(strips, 1) for strips in range(1, layer.p + 1)]
    for strips in [*whole_rows, *((layer.p, parts) for parts in range(2, layer.q + 1))]:
        (rows, down), (columns, across) = _stripes(layer, nvdla, strips, rows_at_once)
        if layer.c * (rows * down + layer.r - 1) * (columns * across + layer.s - 1) <= room:
            return strips
    return None


def _stripes(layer, nvdla, strips, rows_at_once):
    """((stripes, rows of each), (stripes, columns of each)) of a strip; an accumulator holds one stripe."""
    places = int(nvdla.memories[2].size_bits // 8)
    rows, columns = -(-layer.p // strips[0]), -(-layer.q // strips[1])
    across = -(-columns // -(-columns // places))
    down = -(-rows // -(-rows // max(places // across, 1))) if rows_at_once else 1
    return (-(-rows // down), down), (-(-columns // across), across)


def _mapping(layer, nvdla, groups, strips, weights_first, rows_at_once):
    lanes, channels = nvdla.memories[1].fanout_x, nvdla.memories[2].fanout_y
    (rows, down), (columns, across) = _stripes(layer, nvdla, strips, rows_at_once)
    kernels = -(-layer.m // lanes)
    pixels = (("p", strips[0]), ("q", strips[1]))
    filters = (("m", groups),)
    return Mapping(
        (
            LevelMapping("dram", _loops(*filters, *pixels) if weights_first else _loops(*pixels, *filters)),
            LevelMapping(
                "conv_buffer",
                _loops(("m", -(-kernels // groups)), ("p", rows), ("q", columns)),
                x=_loops(("m", min(lanes, layer.m))),
            ),
            LevelMapping(
                "accumulators",
                _loops(("c", -(-layer.c // channels)), ("r", layer.r), ("s", layer.s), ("p", down), ("q", across)),
                y=_loops(("c", min(channels, layer.c))),
            ),
            LevelMapping("weight_register"),
        )
    )


def _loops(*loops):
    return tuple((dim, bound) for dim, bound in loops if bound > 1)
