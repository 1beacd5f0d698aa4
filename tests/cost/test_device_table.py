"""Latencies of NAS-Bench-201 on real devices: the right figure for every cell, and one line for every mistake."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path

import numpy as np
import pytest
from small_machines import three_levels

from coevo.cost.device_table import CELLS, FILE, plugin
from coevo.design import Cost
from coevo.errors import DataError, SpecError
from coevo.networks.cell import Cell, CellSettings, from_digits, to_string
from coevo.protocols import CostContext, Task
from coevo.workload import Source, Workload

DIGITS = ("300000", "000300", "111111")


def workload(digits: str, resolution: int = 32) -> Workload:
    source = Source(digits, from_digits(digits), (3, resolution, resolution), lambda: None)
    return Workload(digits, (), source)


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
        (Workload("own", ()), "the networks of space nasbench201 alone"),
        (Workload("own", (), Source("x", {"width": 3}, (3, 32, 32), lambda: None)), "space nasbench201 alone"),
        (workload("300000", 16), "add `deployment: {channels: 3, resolution: 32}`"),
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
