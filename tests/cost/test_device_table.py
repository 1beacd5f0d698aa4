"""Latencies of published networks on real devices: the right figure for each, and one line for every mistake."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_machines import three_levels

from coevo.accelerator.machine import Accelerator
from coevo.cost import published_blocks
from coevo.cost.device_table import plugin
from coevo.cost.published_cells import CELLS, FILE
from coevo.design import Cost
from coevo.errors import DataError, SpecError
from coevo.networks import fbnet
from coevo.networks.cell import Cell, CellSettings, from_digits, to_string
from coevo.networks.fbnet import FBNet, FBNetSettings
from coevo.protocols import CostContext, Task
from coevo.workload import Source, Workload

DIGITS = ("300000", "000300", "111111")


def workload(digits: str, resolution: int = 32, **skeleton: int) -> Workload:
    family = Cell(CellSettings(**skeleton), Task(3, resolution, 10))
    return sourced(family.workload(from_digits(digits)), from_digits(digits), (3, resolution, resolution))


def sourced(made: Workload, choices: Mapping[str, Any], shape: tuple[int, int, int]) -> Workload:
    return replace(made, source=Source(repr(choices), choices, shape, lambda: None))


def chain(digits: str, task: Task = published_blocks.TASK, **settings: Any) -> Workload:
    """A network of FBNet's."""
    family = FBNet(FBNetSettings.model_validate(settings), task)
    choices = fbnet.from_digits(digits)
    return sourced(family.workload(choices), choices, (task.channels, task.resolution, task.resolution))


def on(device: str) -> Accelerator:
    """A machine that stands for a device."""
    return replace(three_levels(), device=device)


def costs(path: Path, device: str, digits: tuple[str, ...] = DIGITS) -> list[Cost]:
    model = plugin(plugin.Settings(device=device, path=str(path)))
    model.attach(CostContext(draw=lambda count, seed: [(workload(DIGITS[0]), three_levels())]))
    return model.evaluate([(workload(name), three_levels()) for name in digits])


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Two devices, three cells by number, backwards in the file that names them."""
    rows = "".join(f"{i},{to_string(from_digits(digits))}\n" for i, digits in reversed(list(enumerate(DIGITS))))
    (tmp_path / CELLS).write_bytes(gzip.compress(f"idx,arch\n{rows}".encode()))
    file = tmp_path / "mine.npz"
    np.savez(file, devices=["phone", "board"], latency_ms=[[1.0, 2.0, 3.0], [10.0, 20.0, np.nan]])
    return file


def milliseconds(cost: Cost) -> float:
    return cost.latency_cycles / (three_levels().clock_mhz * 1e3)


def test_cells_that_stand_by_number_are_found(arrays):
    assert [milliseconds(cost) for cost in costs(arrays, "phone")] == pytest.approx([1.0, 2.0, 3.0])


def test_a_cell_without_a_figure_is_infeasible_with_the_reason(arrays):
    cost = costs(arrays, "board")[2]
    assert cost.violation > 0
    assert cost.reason == f"the table has no latency of {to_string(from_digits('111111'))} on board"
    assert costs(arrays, "board", ("333333",))[0].violation > 0


def test_a_csv_may_have_energies_too(tmp_path):
    file = tmp_path / "mine.csv"
    arch = to_string(from_digits(DIGITS[0]))
    file.write_text(f"arch,board_latency_ms,board_energy_mJ,phone_latency_ms\n{arch},5,7,\n")
    (cost,) = costs(file, "board", DIGITS[:1])
    assert (milliseconds(cost), cost.energy_pj) == (pytest.approx(5), pytest.approx(7e9))
    assert math.isnan(cost.peak_memory_bytes)
    with_energy = plugin(plugin.Settings(device="board", path=str(file)))
    without = plugin(plugin.Settings(device="phone", path=str(file)))
    assert (with_energy.unknown, without.unknown) == (
        {"peak_memory_bytes"},
        {"peak_memory_bytes", "energy_pj"},
    )


def test_an_unknown_device_is_told_with_the_near_names(arrays):
    with pytest.raises(SpecError, match=r"no device 'fone' .*phone"):
        costs(arrays, "fone")


def test_mistakes_in_the_file_are_one_line(tmp_path, arrays):
    (tmp_path / CELLS).unlink()
    with pytest.raises(DataError, match=r"put nb201_acc.csv.gz, which says which they are, beside it"):
        costs(arrays, "phone")
    np.savez(arrays, devices=["phone"], latency_ms=[[-1.0, 2.0, 3.0]])
    with pytest.raises(DataError):
        costs(arrays, "phone")
    arrays.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="is no table of devices"):
        costs(arrays, "phone")
    with pytest.raises(DataError, match=r"name the file in cost\.path"):
        costs(tmp_path / "absent.npz", "phone")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (Workload("own", ()), "the networks of spaces nasbench201 and fbnet alone"),
        (Workload("own", (), Source("x", {"width": 3}, (3, 32, 32), lambda: None)), "nasbench201 and fbnet alone"),
        (workload("300000", 16), "add `deployment: {channels: 3, resolution: 32}`"),
        (workload("300000", channels=8), "in the skeleton of space nasbench201, 16 channels and 5 cells"),
        (chain("0" * 22, Task(3, 32, 10)), r"for 3 x 32 x 32 with 10; add `deployment: \{.*, classes: 100\}`"),
        (chain("0" * 22, Task(3, 16, 100)), r"for 3 x 16 x 16 with 100; add `deployment"),
        (chain("0" * 22, head=1984), "in the chain of space fbnet; take that space"),
        (chain("0" * 22, stem={"width": 8}), "in the chain of space fbnet; take that space"),
    ],
)
def test_networks_that_the_table_cannot_know_are_refused_before_a_run(arrays, given, problem):
    model = plugin(plugin.Settings(device="phone", path=str(arrays)))
    with pytest.raises(SpecError, match=problem):
        model.attach(CostContext(draw=lambda count, seed: [(given, three_levels())]))


@pytest.mark.skipif(
    not (Path(os.environ.get("COEVO_DATA", "nowhere")) / FILE).is_file(), reason=f"COEVO_DATA holds no {FILE}"
)
def test_both_published_tables_agree_on_the_raspberry_pi():
    data = Path(os.environ["COEVO_DATA"])
    family = Cell(CellSettings(), Task(3, 32, 10))
    assert family.genes
    names = ("421211", "334131", "000000")
    help_table = [milliseconds(cost) for cost in costs(data / FILE, "raspi4", names)]
    hw_nas_bench = [milliseconds(cost) for cost in costs(data / "nb201_hwnasbench.csv.gz", "raspi4", names)]
    assert help_table == pytest.approx(hw_nas_bench, rel=1e-5)
    assert help_table[0] == pytest.approx(10.4819768)


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    """A table of FBNet's blocks: on the board, operator o in block l adds 100 + 10 l + o microseconds."""
    file = tmp_path / "blocks.npz"
    names = [name for name in fbnet.OPERATORS if name != "skip"]
    added = (100 + 10 * np.arange(22)[:, None] + np.arange(8)) / 1000
    np.savez(file, ops=[*names, "skip"], devices=["board", "gpu"], board_base=2.5, board_lut=added)
    return file


def sums(path: Path, device: str, digits: list[str]) -> list[Cost]:
    model = plugin(plugin.Settings(device=device, path=str(path)))
    model.attach(CostContext(draw=lambda count, seed: [(chain("8" * 22), three_levels())]))
    return model.evaluate([(chain(name), three_levels()) for name in digits])


def test_a_chain_costs_the_base_and_what_its_blocks_add(blocks):
    found = [milliseconds(cost) for cost in sums(blocks, "board", ["8" * 22, "8" * 21 + "7", "0" * 22])]
    assert found == pytest.approx([2.5, 2.5 + 0.317, 2.5 + (2200 + 10 * 231) / 1000], abs=1e-12)


def test_a_chain_that_costs_nothing_has_no_latency(blocks):
    with np.load(blocks) as arrays:
        np.savez(blocks, **{**arrays, "board_base": -1e-14})  # fitted
    nothing, something = sums(blocks, "board", ["8" * 22, "0" + "8" * 21])
    assert nothing.reason == f"the table has no latency of {'8' * 22} on board"
    assert milliseconds(something) == pytest.approx(0.1)


def test_operators_may_stand_in_another_order(blocks):
    with np.load(blocks) as arrays:
        turned = {**arrays, "ops": arrays["ops"][::-1], "board_lut": arrays["board_lut"][:, ::-1]}
    network = ["0123456780123456780123"]
    before = sums(blocks, "board", network)
    np.savez(blocks, **turned)
    assert [milliseconds(cost) for cost in before] == [milliseconds(cost) for cost in sums(blocks, "board", network)]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (
            {"board_lut": np.zeros((22, 7))},
            "board_lut must have a row per block, 22, and a column per operator but skip",
        ),
        ({"ops": ["k7_e1", *list(fbnet.OPERATORS)[1:]]}, ".* a column per operator but skip"),
        ({"board_lut": np.full((22, 8), np.nan)}, "board_base and board_lut must be numbers"),
        ({"board_base": -1.0}, ".* the base from 0 on, got the base -1"),
    ],
)
def test_a_damaged_table_of_blocks_is_one_line(blocks, changed, problem):
    with np.load(blocks) as arrays:
        np.savez(blocks, **{**arrays, **changed})
    with pytest.raises(DataError, match=f"is no table of devices for space fbnet: {problem}"):
        sums(blocks, "board", ["0" * 22])


def test_a_device_without_blocks_is_told_which_have_them(blocks):
    with pytest.raises(
        SpecError, match="the table has 'gpu' for some whole networks alone; block by block it has board"
    ):
        sums(blocks, "gpu", ["0" * 22])
    with pytest.raises(SpecError, match=r"device: the table has no device 'bord' \(did you mean 'board'"):
        sums(blocks, "bord", ["0" * 22])


def test_a_table_of_cells_is_no_table_of_blocks(arrays):
    with pytest.raises(SpecError, match="the table has 'phone' for some whole networks alone"):
        sums(arrays, "phone", ["0" * 22])


def test_each_machine_is_looked_up_for_the_device_that_it_stands_for(arrays):
    model = plugin(plugin.Settings(path=str(arrays)))
    pairs = [(workload(DIGITS[0]), on("phone")), (workload(DIGITS[0]), on("board"))]
    model.attach(CostContext(draw=lambda count, seed: pairs))
    assert [milliseconds(cost) for cost in model.evaluate(pairs)] == pytest.approx([1.0, 10.0])
    assert model.facts == {"device": f"phone, board, as in the table {arrays}"}
    assert on("phone").key != on("board").key != three_levels().key


@pytest.mark.parametrize(
    ("settings", "machine", "problem"),
    [
        ({}, three_levels(), "device: .* names no device; add `device` here, or to each accelerator"),
        ({"device": "board"}, on("phone"), "device: 'board' stands here, and 'phone' in an accelerator; remove one"),
        ({}, on("fone"), r"device: the table has no device 'fone' \(did you mean 'phone'"),
    ],
)
def test_a_device_that_is_not_named_once_is_refused_before_a_run(arrays, settings, machine, problem):
    model = plugin(plugin.Settings(path=str(arrays), **settings))
    with pytest.raises(SpecError, match=problem):
        model.attach(CostContext(draw=lambda count, seed: [(workload(DIGITS[0]), machine)]))
        _ = model.unknown


HELP = Path(os.environ.get("COEVO_DATA", "nowhere")) / published_blocks.FILE


@pytest.mark.skipif(not HELP.is_file(), reason=f"COEVO_DATA holds no {HELP.name}")
@pytest.mark.parametrize(
    ("device", "all_k3_e1_ms"),
    [("eyeriss", 3.940896), ("fpga", 10.73952), ("pixel3", 7.7889731), ("raspi4", 17.6185791)],
)
def test_the_published_latencies_of_5000_networks_are_sums_of_blocks(device, all_k3_e1_ms):
    with np.load(HELP) as arrays:
        published = arrays["latency_ms"][[str(name) for name in arrays["devices"]].index(device)]
        names = ["".join(map(str, row)) for row in arrays["arch"]]
    table = published_blocks.BENCHMARK.read(HELP, device)
    found = [table.find(name).latency_cycles / 1e6 for name in names]
    np.testing.assert_allclose(found, published, rtol=1e-9)
    (cost,) = sums(HELP, device, ["0" * 22])
    assert round(milliseconds(cost), 7) == all_k3_e1_ms
