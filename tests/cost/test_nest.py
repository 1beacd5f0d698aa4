"""The loop-nest formulas against hand counts, a plain simulation, and Timeloop's own figures."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from small_machines import array_loop, simulated_sweep

from coevo.cost.nest import Loop, Tile, Window, distinct, sweep, traffic

RECORDS = json.loads((Path(__file__).parent / "timeloop_records.json").read_text())
ONES = Window(stride=(1.0, 1.0), dilation=(1.0, 1.0), has_weights=1.0)
OPERAND = {"Weights": "weights", "Inputs": "inputs", "Outputs": "outputs"}


def test_a_pointwise_convolution_moves_what_pencil_and_paper_say():
    # 1x1, m = 4, c = 8, p = 16; DRAM loops m (outer) and p; the buffer holds the c = 8 reduction of one pixel.
    nest = [array_loop("c", 8, 1), array_loop("p", 16, 0), array_loop("m", 4, 0)]
    homes = dict.fromkeys(("weights", "inputs", "outputs"), (0, 1))
    moved = traffic(nest, homes, 2, ONES)
    assert moved[0, "weights"].reads == 8 * 4  # a filter stays while the pixels pass
    assert moved[0, "inputs"].reads == 8 * 16 * 4  # all pixels again for every filter
    assert moved[0, "outputs"].updates == 16 * 4 and moved[0, "outputs"].reads == 0  # finished sums leave once
    assert moved[1, "inputs"].reads == 8 * 16 * 4  # a word a cycle for the multiplier
    assert moved[1, "outputs"].updates == 8 * 16 * 4
    assert moved[1, "outputs"].reads == 7 * 16 * 4  # the first of eight additions finds nothing to add to


def test_partial_sums_return_when_the_reduction_is_outermost():
    nest = [array_loop("p", 16, 0), array_loop("c", 8, 0)]
    homes = dict.fromkeys(("weights", "inputs", "outputs"), (0, 1))
    moved = traffic(nest, homes, 2, ONES)
    assert moved[0, "outputs"].updates == 16 * 8
    assert moved[0, "outputs"].reads == 16 * 7
    assert moved[1, "outputs"].fills == 16 * 7


def test_a_sliding_window_fetches_only_its_fresh_rim():
    tile = Tile({"r": 3.0, "s": 3.0, "q": 8.0}, ONES)
    words = sweep("inputs", tile, [array_loop("p", 6, 0)])
    assert words == 3 * 10 + 5 * 10  # three rows of ten, then five single rows


def test_a_stride_wider_than_the_window_reuses_nothing():
    window = Window(stride=(4.0, 4.0), dilation=(1.0, 1.0), has_weights=1.0)
    words = sweep("inputs", Tile({"r": 3.0, "s": 3.0}, window), [array_loop("p", 6, 0)])
    assert words == 6 * 9


def two_iterations_walked(operand, extent, temporal, stride, dilation):
    """Words taken in over all time as Timeloop walks a nest: two iterations of each loop, the second counting for all
    that follow, and a rim only where the tile moves as it did when it last moved.

    Args:
        extent: Iterations per dim inside the tile.
        temporal: (dim, bound) outside it, innermost first.
    """
    along = {
        "weights": [{"g": 1}, {"m": 1}, {"c": 1}, {"r": 1}, {"s": 1}],
        "inputs": [
            {"n": 1},
            {"g": 1},
            {"c": 1},
            {"p": stride[0], "r": dilation[0]},
            {"q": stride[1], "s": dilation[1]},
        ],
        "outputs": [{"n": 1}, {"g": 1}, {"m": 1}, {"p": 1}, {"q": 1}],
    }[operand]
    box = [1 + sum(step * (extent.get(dim, 1) - 1) for dim, step in axis.items()) for axis in along]
    reach, moves, bounds = dict(extent), [], []
    for dim, bound in temporal:
        if bound > 1:
            moves.append([axis.get(dim, 0) * reach.get(dim, 1) for axis in along])
            bounds.append(bound)
            reach[dim] = reach.get(dim, 1) * bound

    def walk(loops, move, held):
        if loops == 0:
            if move is None:
                return math.prod(box), None
            if not any(move):
                return 0, held
            if held not in (None, move):
                return math.prod(box), None
            return math.prod(box) - math.prod(max(0, b - abs(x)) for b, x in zip(box, move, strict=True)), move
        first, held = walk(loops - 1, move, held)
        turn = [x - sum(inner[axis] for inner in moves[: loops - 1]) for axis, x in enumerate(moves[loops - 1])]
        second, held = walk(loops - 1, turn, held)
        return first + (bounds[loops - 1] - 1) * second, held

    return walk(len(moves), None, None)[0]


@pytest.mark.parametrize("operand", ["weights", "inputs", "outputs"])
def test_sweep_agrees_with_timeloops_walk_of_two_iterations_per_loop(operand):
    rng = np.random.default_rng(1)
    for _ in range(400):
        stride, dilation = (int(rng.integers(1, 3)),) * 2, (int(rng.integers(1, 3)),) * 2
        extent = {dim: int(rng.integers(1, 4)) for dim in "gmcpqrs"}
        temporal = [(str(dim), int(rng.integers(1, 4))) for dim in rng.choice(list("mcpqrspr"), rng.integers(1, 7))]
        window = Window(tuple(map(float, stride)), tuple(map(float, dilation)), 1.0)
        tile = Tile({dim: float(size) for dim, size in extent.items()}, window)
        words = float(np.max(sweep(operand, tile, [array_loop(dim, bound, 0) for dim, bound in temporal])))
        assert words == two_iterations_walked(operand, extent, temporal, stride, dilation), (extent, temporal, stride)


@pytest.mark.parametrize("operand", ["weights", "inputs", "outputs"])
def test_sweep_agrees_with_walking_every_iteration_if_only_the_outermost_loop_slides(operand):
    rng = np.random.default_rng(1)
    for _ in range(150):
        stride, dilation = (int(rng.integers(1, 3)),) * 2, (int(rng.integers(1, 3)),) * 2
        extent = {dim: int(rng.integers(1, 4)) for dim in "gmcpqrs"}
        dims = [*map(str, rng.permutation(list("mc"))[: rng.integers(0, 3)]), str(rng.choice(list("pqrs")))]
        temporal = [(dim, int(rng.integers(1, 4))) for dim in dims]
        window = Window(tuple(map(float, stride)), tuple(map(float, dilation)), 1.0)
        tile = Tile({dim: float(size) for dim, size in extent.items()}, window)
        words = float(np.max(sweep(operand, tile, [array_loop(dim, bound, 0) for dim, bound in temporal])))
        assert words == simulated_sweep(operand, extent, temporal, stride, dilation), (extent, temporal, stride)


def test_diagonal_multicast_counts_every_offset_once():
    rng = np.random.default_rng(2)
    for _ in range(200):
        rows, taps = (int(x) for x in rng.integers(1, 7, 2))
        p, r, stride, dilation = (int(x) for x in rng.integers(1, 4, 4))
        window = Window((float(stride), 1.0), (float(dilation), 1.0), 1.0)
        spatial = [array_loop("p", rows, 0, True), array_loop("r", taps, 0, True)]
        offsets = {stride * p * i + dilation * r * j for i in range(rows) for j in range(taps)}
        counted = distinct("inputs", spatial, Tile({"p": float(p), "r": float(r)}, window))
        assert counted == len(offsets)


def test_multicast_and_reduction_count_distinct_tiles():
    spatial = [array_loop("m", 4, 0, True), array_loop("c", 8, 0, True)]
    point = Tile({}, ONES)
    assert distinct("weights", spatial, point) == 32
    assert distinct("inputs", spatial, point) == 8  # one read serves the four filters
    assert distinct("outputs", spatial, point) == 4  # eight products become one update


def test_the_formulas_give_the_same_on_torch_as_on_numpy():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    bounds = {(dim, level): rng.integers(1, 5, (6, 7)).astype(float) for dim in "mcpqrs" for level in range(2)}
    homes = {"weights": (0, 1), "inputs": (0, 1), "outputs": (0, 1)}

    def counts(convert):
        nest = [Loop(d, convert(bounds[d, 1]), 1, spatial=d in "pr") for d in "prmcqs"]
        nest += [Loop(d, convert(bounds[d, 0]), 0) for d in "qpsrcm"]
        window = Window((convert(np.full((6, 1), 2.0)),) * 2, (convert(np.ones((6, 1))),) * 2, 1.0)
        moved = traffic(nest, homes, 2, window)
        return [x for key in sorted(moved) for x in (moved[key].reads, moved[key].fills, moved[key].updates)]

    for ours, theirs in zip(counts(np.asarray), counts(torch.from_numpy), strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-12)


def _differences(record):
    names = RECORDS["architectures"][record["arch"]]
    nest = []
    for level, (_, temporal, x, y) in reversed(list(enumerate(record["mapping"]))):
        nest += [array_loop(dim.lower(), bound, level, True) for dim, bound in (*x, *y)]
        nest += [array_loop(dim.lower(), bound, level) for dim, bound in reversed(temporal)]
    homes = {
        ours: [level for level, (keep, *_) in enumerate(record["mapping"]) if theirs in keep]
        for theirs, ours in OPERAND.items()
    }
    window = Window(tuple(map(float, record["stride"])), tuple(map(float, record["dilation"])), 1.0)
    moved = traffic(nest, homes, len(names), window)
    different = []
    for level, name in enumerate(names):
        for theirs, figures in record["counts"].get(name, {}).items():
            ours = moved[level, OPERAND[theirs]]
            for figure, count in zip(figures, (ours.tile, ours.reads, ours.fills, ours.updates), strict=True):
                if abs(float(np.max(count)) - figure) >= 1:  # Timeloop rounds to whole words
                    different.append((name, theirs, figure, float(np.max(count))))
    return different


LINKED = {473}
"""Here neighbouring PEs pass words on; `test_reference` counts those."""


def test_access_counts_equal_timeloops():
    differing = {record["id"]: _differences(record) for record in RECORDS["records"]}
    assert {key for key, found in differing.items() if found} == LINKED


def test_a_memory_that_holds_nothing_and_feeds_no_fan_out_changes_nothing():
    nest = [array_loop("c", 8, 2), array_loop("p", 16, 1), array_loop("m", 4, 0)]
    merged = [array_loop("c", 8, 1), array_loop("p", 16, 0), array_loop("m", 4, 0)]
    operands = ("weights", "inputs", "outputs")
    apart = traffic(nest, dict.fromkeys(operands, (0, 2)), 3, ONES)
    together = traffic(merged, dict.fromkeys(operands, (0, 1)), 2, ONES)
    for operand in operands:
        assert (apart[2, operand].reads, apart[2, operand].fills) == (
            together[1, operand].reads,
            together[1, operand].fills,
        )
        assert apart[0, operand].reads == together[0, operand].reads


def test_plain_numbers_give_the_same_as_arrays():
    nest = [array_loop("p", 3, 1, True), array_loop("r", 3, 1, True), array_loop("c", 4, 1), array_loop("q", 5, 0)]
    plain = [Loop(loop.dim, float(loop.bound.max()), loop.level, loop.spatial) for loop in nest]
    homes = dict.fromkeys(("weights", "inputs", "outputs"), (0, 1))
    arrays, numbers = traffic(nest, homes, 2, ONES), traffic(plain, homes, 2, ONES)
    for key, words in numbers.items():
        assert words.reads == float(np.max(arrays[key].reads)) and words.writes == float(np.max(arrays[key].writes))
        assert words.tile == float(np.max(arrays[key].tile))
