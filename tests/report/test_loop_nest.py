"""The text of a loop nest, by hand: Timeloop's form, every figure in its place, 80 columns of ASCII."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from coevo.accelerator.machine import DATAFLOWS, Accelerator, Mac, Memory
from coevo.design import LayerCost
from coevo.mapping import LevelMapping, Mapping
from coevo.report.energy import energy_parts, energy_unit
from coevo.report.loop_nest import (
    accesses_table,
    instances,
    layer_data,
    layer_text,
    levels_table,
    loop_nest,
    network_table,
    shape,
)
from coevo.workload import Layer

EVERYTHING = ("weights", "inputs", "outputs")


def memory(name, kind="sram", holds=EVERYTHING, bandwidth=math.inf, **rest):
    return Memory(name, kind, holds, 1e6, 16, 1, math.inf, math.inf, bandwidth, False, 1.0, 1.0, 0.0, 0.1, **rest)


MACHINE = Accelerator(
    "small", 45, 100, (16, 16, 16),
    (
        memory("dram", "dram", bandwidth=2.0),
        memory("buffer", fanout_x=4, fanout_y=3),
        memory("acc", holds=("outputs",)),
    ),
    Mac(1.0, 0.01), DATAFLOWS["free"],
)  # fmt: skip
LAYER = Layer("c1", "conv", m=8, c=6, p=5, stride=(2, 1))
MAPPING = Mapping(
    (
        LevelMapping("dram", (("p", 5), ("m", 2))),
        LevelMapping("buffer", (("c", 2),), x=(("m", 2), ("c", 1), ("m", 2)), y=(("c", 3),)),
        LevelMapping("acc", ()),
    )
)
COST = LayerCost(
    layer=LAYER, mapping=MAPPING, compute_cycles=20.0, cycles=119.0, bound_by="dram", utilization=240 / (12 * 119),
    mac_energy_pj=240.0, leakage_pj=10.0,
    energy_pj=np.array([[100.0, 200.0, 50.0], [30.0, 20.0, 10.0], [0.0, 0.0, 40.0]]),
    reads=np.array([[48.0, 150.0, 0.0], [240.0, 60.0, 0.0], [0.0, 0.0, 200.0]]),
    writes=np.array([[0.0, 0.0, 40.0], [48.0, 150.0, 0.0], [0.0, 0.0, 240.0]]),
    tile_words=np.array([[48.0, 54.0, 40.0], [24.0, 6.0, 4.0], [0.0, 0.0, 1.0]]),
    memory_cycles=np.array([119.0, 0.0, 0.0]), bytes_used=92.0,
)  # fmt: skip


def test_the_nest_has_timeloops_form():
    assert loop_nest(COST).splitlines() == [
        "dram [ weights:48 inputs:54 outputs:40 ]",
        "----------------------------------------",
        "| for p in [0:5)",
        "|   for m in [0:2)",
        "",
        "buffer [ weights:24 inputs:6 outputs:4 ]",
        "----------------------------------------",
        "|     for c in [0:2)",
        "|       for c in [0:3) (Spatial-Y)",
        "|         for m in [0:2) (Spatial-X)",
        "|           for c in [0:1) (Spatial-X)",
        "|             for m in [0:2) (Spatial-X)",
        "",
        "acc [ outputs:1 ]",
        "-----------------",
        "|               << Compute >>",
    ]


def test_spatial_loops_stand_with_the_fastest_varying_last():
    mapping = Mapping((LevelMapping("dram", (), x=(("m", 2), ("c", 4)), y=(("p", 3), ("q", 5))), *MAPPING.levels[1:]))
    loops = re.findall(r"for (\w) in \[0:(\d)\) \(Spatial-(\w)\)", loop_nest(replace(COST, mapping=mapping)))
    assert loops[:4] == [("q", "5", "Y"), ("p", "3", "Y"), ("c", "4", "X"), ("m", "2", "X")]


def test_every_access_stands_in_the_table():
    rows = [line.split() for line in accesses_table(COST, MACHINE).splitlines()[2:]]
    assert ["dram", "inputs", "1", "54", "150", "0", "200"] in rows
    assert ["buffer", "weights", "1", "24", "240", "48", "30"] in rows
    assert ["acc", "outputs", "12", "1", "200", "240", "40"] in rows
    assert [row[:2] for row in rows] == [
        ["dram", "weights"], ["dram", "inputs"], ["dram", "outputs"],
        ["buffer", "weights"], ["buffer", "inputs"], ["buffer", "outputs"], ["acc", "outputs"],
    ]  # fmt: skip


def test_levels_show_cycles_energy_and_their_shares():
    rows = {line.split()[0]: line.split()[1:] for line in levels_table(COST, MACHINE).splitlines()[2:]}
    assert rows["dram"][:4] == ["119", "100.0%", "350", "50.0%"]
    assert rows["buffer"][:4] == ["-", "-", "60", "8.6%"]  # unlimited bandwidth
    assert rows["compute"][:4] == ["20", "16.8%", "240", "34.3%"]
    assert rows["leakage"] == ["10", "1.4%"]
    assert rows["total"] == ["119", "700", "100.0%"]


def test_the_head_says_what_bounds_the_layer_and_what_comes_next():
    text = layer_text(COST, MACHINE, "your mapping")
    assert text.startswith("c1 on small (your mapping)\n")
    assert "bound by     dram; next compute, busy 16.8% of the cycles" in text
    assert "119 (0.00119 ms at 100 MHz)" in text
    assert "16.8% of 12 multipliers" in text
    assert "idle" not in text


def test_idle_iterations_are_named():
    cost = replace(COST, layer=replace(LAYER, m=7, c=5))
    assert "idle         m runs to 8 for 7, c runs to 6 for 5" in layer_text(cost, MACHINE)


@pytest.mark.parametrize("loops", [1, 8, 24])
def test_the_text_is_ascii_in_80_columns(loops):
    deep = Mapping((LevelMapping("dram", (("p", 2),) * loops), *MAPPING.levels[1:]))
    words = {"reads": COST.reads * 1e13, "writes": COST.writes * 1e13}
    big = replace(COST, mapping=deep, energy_pj=COST.energy_pj * 1e9, **words)
    text = layer_text(big, MACHINE)
    assert text.isascii() and "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_instances_are_those_in_use():
    assert instances(COST) == (1, 1, 12)


def test_energy_parts_sum_to_the_total_and_what_is_more_is_other():
    assert energy_parts([COST], MACHINE) == {
        "dram": 350.0, "buffer": 60.0, "acc": 40.0, "multipliers": 240.0, "leakage": 10.0
    }  # fmt: skip

    class WithNetwork(LayerCost):
        @property
        def total_energy_pj(self):
            return 777.0

    more = WithNetwork(**{name: getattr(COST, name) for name in LayerCost.__dataclass_fields__})
    parts = energy_parts([more, COST], MACHINE)
    assert parts["other"] == 77.0 and sum(parts.values()) == 777.0 + 700.0


@pytest.mark.parametrize(("pj", "unit"), [(0, "pJ"), (999, "pJ"), (1e3, "nJ"), (5e7, "uJ"), (2e9, "mJ"), (3e13, "J")])
def test_energies_are_shown_in_a_fitting_unit(pj, unit):
    assert energy_unit(pj)[1] == unit


def test_data_is_plain_and_complete():
    data = json.loads(json.dumps(layer_data(COST, MACHINE), allow_nan=False))
    assert Mapping.from_data(data["mapping"]) == MAPPING
    assert data["reads"]["dram"] == {"weights": 48.0, "inputs": 150.0, "outputs": 0.0}
    assert data["writes"]["acc"] == {"outputs": 240.0}
    assert data["tile_words"]["buffer"]["inputs"] == 6.0
    assert data["energy_pj"]["dram"]["inputs"] == 200.0
    assert sum(data["energy_by_part_pj"].values()) == data["total_energy_pj"] == 700.0
    assert (data["cycles"], data["bound_by"], data["memory_cycles"]["dram"]) == (119.0, "dram", 119.0)
    assert data["edp_j_cycles"] == pytest.approx(700e-12 * 119)
    assert data["bounds"]["m"] == 8 and data["stride"] == [2, 1] and data["bits"] == [16, 16, 16]


def test_a_network_has_a_line_per_layer_and_the_total():
    twin = replace(COST, layer=replace(LAYER, name="a/very/long/name/of/a/layer/from/another/program"))
    lines = network_table([COST, twin], MACHINE).splitlines()
    assert len(lines) == 4 and max(map(len, lines)) <= 80
    assert lines[-1].split() == ["total", "238", "16.8%", "1400", "3.332e-07"]


def test_a_machine_without_any_energy_still_prints():
    free = replace(COST, energy_pj=COST.energy_pj * 0, mac_energy_pj=0.0, leakage_pj=0.0)
    assert "0.0%" in levels_table(free, MACHINE)


def test_a_shape_is_what_the_command_line_reads():
    assert shape(LAYER) == "m=8 c=6 p=5 stride=2x1"
    assert shape(Layer("x", "pool", g=4, r=2, s=2, dilation=(3, 3), bits=(8, 8, 32))) == (
        "g=4 r=2 s=2 dilation=3 kind=pool bits=8/8/32"
    )
    assert shape(Layer("x", "linear")) == "m=1 kind=linear"
