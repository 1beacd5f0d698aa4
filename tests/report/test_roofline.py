"""Roofline, summary and figures of layers' costs, by hand."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest

from coevo.accelerator.machine import DATAFLOWS, Accelerator, Mac, Memory
from coevo.design import LayerCost
from coevo.errors import SpecError
from coevo.mapping import LevelMapping, Mapping
from coevo.report.cost_figures import colour_of, cost_figure_files, write_cost_figures
from coevo.report.roofline import bounds, bounds_text, layers_csv, roofline
from coevo.workload import Layer

EVERYTHING = ("weights", "inputs", "outputs")
FILES = {f"{name}.{kind}" for name in ("energy", "utilization", "roofline") for kind in ("png", "svg")}


def memory(name, kind, read=math.inf, write=math.inf, shared=math.inf):
    return Memory(name, kind, EVERYTHING, 1e6, 16, 1, read, write, shared, False, 1.0, 1.0, 0.0, 0.1)


def machine(*memories):
    return Accelerator("small", 45, 100, (16, 16, 16), memories, Mac(1.0, 0.01), DATAFLOWS["free"])


SMALL = machine(memory("dram", "dram", shared=4.0), replace(memory("buffer", "sram"), fanout_x=8, fanout_y=4))


def cost(name="c", operations=640, words=(20.0, 10.0, 10.0), cycles=40.0, bound="compute", bits=None, on=SMALL):
    layer = Layer(name, "conv", m=operations, bits=bits)
    moved = np.zeros((len(on.memories), 3))
    moved[0] = words
    levels = tuple(LevelMapping(x.name) for x in on.memories)
    return LayerCost(
        layer, Mapping(levels), 20.0, cycles, bound, operations / (on.pes * cycles), 5.0, 2.0,
        moved * 3.0 + 1.0, moved, moved * 0, moved, np.zeros(len(on.memories)), 9.0,
    )  # fmt: skip


def test_roofs_and_places_are_those_by_hand():
    found = roofline([cost()], SMALL)
    assert (found.memory, found.peak, found.bandwidth) == ("dram", 32.0, 8.0)  # 4 words of 2 bytes
    assert found.ridge == 4.0
    assert found.intensity.tolist() == [8.0]  # 640 operations, 40 words of 2 bytes
    assert found.rate.tolist() == [16.0]
    assert found.roof(np.array([1.0, 4.0, 100.0])).tolist() == [8.0, 32.0, 32.0]


def test_a_layers_own_bits_count():
    assert roofline([cost(bits=(8, 8, 32))], SMALL).intensity.tolist() == [640 / (20 + 10 + 40)]
    open_ended = roofline([cost(bits=(8, 8, None))], SMALL).intensity.tolist()
    assert open_ended == roofline([cost(bits=(8, 8, 16))], SMALL).intensity.tolist()


@pytest.mark.parametrize(
    ("limits", "bytes_per_cycle"),
    [
        ((math.inf, math.inf, 4.0), 8.0),
        ((3.0, 2.0, math.inf), 10.0),
        ((3.0, 2.0, 4.0), 8.0),
        ((math.inf,) * 3, math.inf),
    ],
)
def test_the_roof_is_the_best_that_the_bandwidths_allow(limits, bytes_per_cycle):
    assert roofline([cost()], machine(memory("dram", "dram", *limits), SMALL.memories[1])).bandwidth == bytes_per_cycle


def test_several_memories_off_chip_count_together():
    two = machine(memory("flash", "dram", shared=1.0), memory("ram", "dram", shared=2.0), SMALL.memories[1])
    found = roofline([cost(on=two)], two)
    assert (found.memory, found.bandwidth) == ("flash+ram", 6.0)


def test_a_layer_without_traffic_has_infinite_intensity_and_is_drawn():
    still = cost(words=(0.0, 0.0, 0.0))
    assert roofline([still], SMALL).intensity.tolist() == [math.inf]
    assert len(dict(cost_figure_files([still], SMALL))) == 6


def test_bounds_are_in_order_and_counted():
    costs = [cost("a", bound="dram", cycles=60.0), cost("b"), cost("c", bound="dram", cycles=100.0)]
    assert bounds(costs, SMALL) == ["compute", "dram"]
    rows = [line.split() for line in bounds_text(costs, SMALL).splitlines()]
    assert ["compute", "1", "20.0%", "33.3%", "50.0%"] in rows
    assert ["dram", "2", "80.0%", "66.7%", "25.0%"] in rows
    assert "32 operations/cycle, dram 8 bytes/cycle; they meet at 4 operations/byte" in bounds_text(costs, SMALL)


def test_unlimited_bandwidth_is_said_and_drawn():
    free = machine(memory("dram", "dram"), SMALL.memories[1])
    assert "dram has unlimited bandwidth" in bounds_text([cost(on=free)], free)
    assert len(dict(cost_figure_files([cost(on=free)], free))) == 6


def test_the_table_of_a_figure_sums_to_the_totals():
    costs = [cost("a"), cost("b", bound="dram")]
    rows = list(csv.DictReader(layers_csv(costs, SMALL).splitlines()))
    assert [(row["number"], row["layer"], row["bound_by"]) for row in rows] == [
        ("1", "a", "compute"),
        ("2", "b", "dram"),
    ]
    for row, one in zip(rows, costs, strict=True):
        parts = [float(row[f"energy_{name}_pj"]) for name in ("dram", "buffer", "multipliers", "leakage")]
        assert sum(parts) == pytest.approx(float(row["energy_pj"])) == pytest.approx(one.total_energy_pj)
        assert float(row["operations_per_offchip_byte"]) == 8.0


@pytest.mark.parametrize("count", [1, 12, 64])
def test_figures_name_every_layer_part_and_bound(count):
    costs = [
        cost(f"stage{i}.$\\x_1$ & <y>", words=(20.0 + i, 9.0, 9.0), bound=("compute", "dram", "buffer")[i % 3])
        for i in range(count)
    ]
    files = dict(cost_figure_files(costs, SMALL))
    assert set(files) == FILES
    assert all(files[name].startswith(b"\x89PNG") for name in FILES if name.endswith("png"))
    energy, busy = (files[f"{name}.svg"].decode() for name in ("energy", "utilization"))
    for i in range(count):
        assert f"stage{i}.$\\x_1$ &amp; &lt;y&gt;" in energy
    for part in ("dram", "buffer", "multipliers", "leakage"):
        assert f"<!-- {part} " in energy
    for name in {x.bound_by for x in costs}:
        assert f"bound by {name}" in busy and f"bound by {name}" in files["roofline.svg"].decode()


def test_equal_layers_give_equal_files():
    assert dict(cost_figure_files([cost()], SMALL)) == dict(cost_figure_files([cost()], SMALL))


def test_many_memories_stay_apart():
    deep = machine(*(memory(f"m{i}", "sram") for i in range(16)))
    looks = [colour_of(name, deep) for name in (*(f"m{i}" for i in range(16)), "compute", "leakage", "other")]
    assert len(set(looks)) == 19


def test_files_are_written_whole_into_a_new_folder(tmp_path):
    files = write_cost_figures([cost()], SMALL, tmp_path / "a" / "b")
    assert {file.name for file in files} == {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert {file.name for file in files} == FILES | {"layers.csv"}


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "energy.png").mkdir()
    with pytest.raises(SpecError, match=r"--figures: .*energy\.png: cannot be written"):
        write_cost_figures([cost()], SMALL, tmp_path)
