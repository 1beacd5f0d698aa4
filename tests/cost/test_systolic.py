"""A systolic array's fill and drain cost what SCALE-Sim says: in closed form, as a given mapping, and as found."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_machines import ALL, memory

from coevo.accelerator import load_template
from coevo.accelerator.machine import Accelerator, Dataflow, Mac
from coevo.cost import evaluate_mapping
from coevo.cost.mapper import find_mapping, find_mappings, mapping_of
from coevo.cost.systolic import fold_cycles, folds, gemm_cycles, gemm_folds, overhead
from coevo.mapping import LevelMapping, Mapping
from coevo.workload import Layer

RECORDS = json.loads(Path(__file__).with_name("scalesim_cycles.json").read_text(encoding="utf-8"))
PRODUCTS = np.array(RECORDS["products"])
SIDES = (32, 128)
OPERANDS = ("weights", "inputs", "outputs")


def recorded(side, stationary):
    return PRODUCTS[:, RECORDS["columns"].index(f"{side}x{side} {stationary}")]


@pytest.mark.parametrize("stationary", OPERANDS)
@pytest.mark.parametrize("side", SIDES)
def test_no_recorded_matrix_product_differs_from_scale_sim(side, stationary):
    m, n, k = PRODUCTS[:, :3].T
    np.testing.assert_array_equal(gemm_cycles(stationary, m, n, k, side, side), recorded(side, stationary))


@pytest.mark.parametrize("stationary", OPERANDS)
def test_numbers_numpy_and_torch_agree(stationary):
    m, n, k = PRODUCTS[:, :3].T
    want = gemm_cycles(stationary, m, n, k, 16, 24)
    tensors = [torch.as_tensor(x) for x in (m, n, k)]
    np.testing.assert_array_equal(gemm_cycles(stationary, *tensors, 16, 24).numpy(), want)
    assert [gemm_cycles(stationary, *map(int, row), 16, 24) for row in PRODUCTS[:, :3]] == want.tolist()


def test_filling_a_two_by_three_array_costs_what_one_counts_by_hand():
    # Weights: 2 cycles to shift in, then the last input row enters lane (1, 0) a cycle late and leaves 2 lanes on.
    assert overhead("weights", 2, 3) == overhead("inputs", 2, 3) == 2 + 1 + 2
    assert overhead("outputs", 2, 3) == 1 + 2
    # One output each of a 1 x 1 array: multiply, and the number of the last cycle is 0 (outputs) or 1 (after a load).
    assert gemm_cycles("outputs", 1, 1, 1, 1, 1) == 0
    assert gemm_cycles("weights", 1, 1, 1, 1, 1) == 1


def test_a_tile_changes_with_the_innermost_loop_that_moves_it_and_all_outside_it():
    assert folds([(7, False), (3, True), (5, False)]) == 15
    assert folds([(7, False), (1, True), (5, False)]) == 1  # a loop of one iteration moves nothing
    assert folds([]) == 1
    bounds = torch.tensor([1.0, 4.0])
    assert folds([(bounds, True), (torch.tensor([6.0, 6.0]), False)]).tolist() == [1.0, 24.0]


AXES = {"weights": ("c", "m"), "inputs": ("c", "p"), "outputs": ("p", "m")}
"""The dims that each stationary operand spreads over rows and columns."""


def systolic(stationary, rows, columns):
    """A systolic array below a buffer without bounds; every lane keeps one word of the stationary operand."""
    down, across = AXES[stationary]
    bits = (8, 8, 32)
    return Accelerator(
        name="systolic",
        technology_nm=45,
        clock_mhz=100,
        bits=bits,
        memories=(
            memory("dram", "dram", ALL),
            memory("buffer", "sram", ALL, math.inf, (columns, rows), systolic=True),
            memory("kept", "registers", (stationary,), bits[OPERANDS.index(stationary)]),
        ),
        mac=Mac(energy_pj=1.0, area_mm2=0.01),
        dataflow=Dataflow("gemm", x=(across,), y=(down,), stationary=stationary),
    )


def gemm(m, n, k):
    return Layer("gemm", "linear", m=n, c=k, p=m)


def gemm_mapping(stationary, m, n, k, rows, columns):
    """All lanes, idle ones at the edges included; all of the streamed dim passes a tile before the next is loaded."""
    sizes, lanes = {"m": n, "c": k, "p": m}, dict(zip(AXES[stationary], (rows, columns), strict=True))
    (streamed,) = set(sizes) - set(lanes)
    folds = tuple((dim, -(-sizes[dim] // wide)) for dim, wide in lanes.items())
    (down, across) = lanes.items()
    buffer = LevelMapping("buffer", (*folds, (streamed, sizes[streamed])), x=(across,), y=(down,))
    return Mapping((LevelMapping("dram"), buffer, LevelMapping("kept")))


@pytest.mark.parametrize("stationary", OPERANDS)
@pytest.mark.parametrize("side", SIDES)
def test_a_mapped_matrix_product_costs_what_scale_sim_says(side, stationary):
    machine = systolic(stationary, side, side)
    for (m, n, k), want in zip(PRODUCTS[:, :3].tolist(), recorded(side, stationary), strict=True):
        cost = evaluate_mapping(gemm(m, n, k), machine, gemm_mapping(stationary, m, n, k, side, side))
        assert cost.compute_cycles == cost.cycles == want
        assert cost.bound_by == "compute"


@pytest.mark.parametrize("stationary", OPERANDS)
@pytest.mark.parametrize("side", SIDES)
def test_the_fastest_mapping_of_a_matrix_product_is_scale_sims(side, stationary):
    machine = systolic(stationary, side, side)
    layers = [gemm(*product) for product in PRODUCTS[:, :3].tolist()]
    found = find_mappings([(layer, machine) for layer in layers], "latency")
    for layer, best, want in zip(layers, found, recorded(side, stationary), strict=True):
        assert best.cycles == want
        assert evaluate_mapping(layer, machine, mapping_of(machine, True, best)).cycles == want


@pytest.mark.parametrize("name", ["tpu", "gemmini"])
@pytest.mark.parametrize("goal", ["latency", "edp"])
def test_the_mapper_tells_the_cycles_that_its_mapping_takes_on_a_systolic_machine(name, goal):
    machine = load_template(name).build()
    for layer in (
        Layer("dense", "conv", m=256, c=256, p=28, q=28),
        Layer("window", "conv", m=96, c=20, p=15, q=15, r=3, s=3, stride=(2, 2)),
        Layer("depthwise", "conv", g=24, p=14, q=14, r=3, s=3),
        gemm(1, 1000, 512),
        Layer("pool", "pool", g=64, p=7, q=7, r=2, s=2, stride=(2, 2)),
    ):
        found = find_mapping(layer, machine, goal)
        cost = evaluate_mapping(layer, machine, mapping_of(machine, layer.has_weights, found))
        assert found.cycles == cost.cycles


def test_the_tpu_fills_and_drains_its_array_for_every_tile_of_weights():
    # 2 x 2 tiles of 128 x 128 weights: 784 pixels each, and the array of 256 x 256 loaded and crossed four times.
    machine = load_template("tpu").build()
    layer = Layer("dense", "conv", m=256, c=256, p=28, q=28)
    one = [("c", 256)], [("m", 256)], ()
    four = [("c", 128)], [("m", 128)], (("m", 2), ("c", 2))
    for (down, across, tiles), count in ((one, 1), (four, 4)):
        mapping = Mapping(
            (
                LevelMapping("dram"),
                LevelMapping("unified_buffer"),
                LevelMapping("weight_fifo", tiles, x=tuple(across)),
                LevelMapping("accumulators", y=tuple(down)),
                LevelMapping("weight_register", (("p", 28), ("q", 28))),
            )
        )
        cost = evaluate_mapping(layer, machine, mapping)
        assert cost.compute_cycles == count * (784 + 2 * 256 + 256 - 2) - 1


def test_what_has_no_weights_takes_no_folds():
    machine = systolic("weights", 16, 16)
    pool = Layer("pool", "pool", g=64, p=7, q=7, r=2, s=2, stride=(2, 2))
    found = find_mapping(pool, machine, "latency")
    cost = evaluate_mapping(pool, machine, mapping_of(machine, pool.has_weights, found))
    loops = [bound for level in cost.mapping.levels for _, bound in level.temporal]
    assert found.cycles == cost.compute_cycles == math.prod(loops)


@pytest.mark.parametrize("stationary", OPERANDS)
def test_the_loop_nest_formula_is_the_closed_form(stationary):
    m, n, k = PRODUCTS[:, :3].T
    count = gemm_folds(stationary, m, n, k, 16, 24)
    streamed = {"weights": m, "inputs": n, "outputs": k}[stationary]
    want = gemm_cycles(stationary, m, n, k, 16, 24)
    np.testing.assert_array_equal(fold_cycles(count * streamed, count, stationary, 16, 24), want)
