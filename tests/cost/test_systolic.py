"""A systolic array's fill and drain cost what SCALE-Sim says, in closed form and as a loop nest."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_machines import ALL, memory

from coevo.accelerator.machine import DATAFLOWS, Accelerator, Mac
from coevo.cost import evaluate_mapping
from coevo.cost.systolic import fold_cycles, folds, gemm_cycles, gemm_folds, mapping_folds, overhead
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


def systolic_nest(stationary, m, n, k, rows, columns):
    """A matrix product as a loop nest: machine, layer, mapping, and the level whose registers stay."""
    machine = Accelerator(
        name="systolic",
        technology_nm=45,
        clock_mhz=100,
        bits=(8, 8, 32),
        memories=(
            memory("dram", "dram", ALL),
            memory("buffer", "sram", ALL, math.inf, (columns, rows)),
            memory("kept", "registers", (stationary,), 32),
        ),
        mac=Mac(energy_pj=1.0, area_mm2=0.01),
        dataflow=DATAFLOWS["free"],
    )
    layer = Layer("gemm", "linear", m=n, c=k, p=m)
    sizes = {"m": n, "c": k, "p": m}
    down = "p" if stationary == "outputs" else "c"
    across = "p" if stationary == "inputs" else "m"
    (streamed,) = set("mcp") - {down, across}
    lanes = {down: rows, across: columns}
    outer = tuple((dim, -(-sizes[dim] // lanes[dim])) for dim in (down, across))
    buffer = LevelMapping(
        "buffer",
        temporal=(*outer, (streamed, sizes[streamed])),
        x=((across, columns),),
        y=((down, rows),),
    )
    return machine, layer, Mapping((LevelMapping("dram"), buffer, LevelMapping("kept")))


@pytest.mark.parametrize("stationary", OPERANDS)
@pytest.mark.parametrize("side", SIDES)
def test_loop_nest_view_equals_scale_sim(side, stationary):
    for (m, n, k), want in zip(PRODUCTS[:, :3].tolist(), recorded(side, stationary), strict=True):
        machine, layer, mapping = systolic_nest(stationary, m, n, k, side, side)
        compute = evaluate_mapping(layer, machine, mapping).compute_cycles
        count = mapping_folds(mapping, stationary, home=2)
        assert count == gemm_folds(stationary, m, n, k, side, side)
        assert fold_cycles(compute, count, stationary, side, side) == want


def test_loops_inside_the_stationary_memory_change_no_tile():
    mapping = Mapping((LevelMapping("buffer", (("m", 3),)), LevelMapping("kept", (("m", 2), ("p", 9)))))
    assert mapping_folds(mapping, "weights", home=1) == 3
    assert mapping_folds(mapping, "weights", home=2) == 3 * 2
