"""Machines that came from elsewhere than a template: what no machine has is named, with its path."""

import math
from dataclasses import replace

import pytest
from toy_accelerator import GOOD

from coevo.accelerator import load_template, machine_flaw


@pytest.fixture
def machine(load):
    return load(GOOD).build()


def with_memory(machine, index, **changes):
    memories = list(machine.memories)
    memories[index] = replace(memories[index], **changes)
    return replace(machine, memories=tuple(memories))


def test_a_right_machine_has_no_flaw(machine):
    assert machine_flaw(machine) is None


@pytest.mark.parametrize(
    ("index", "field", "value", "says"),
    [
        (1, "fanout_x", 10**9, "1000000000 makes 4000000000 multipliers"),
        (2, "fanout_y", 10**7, "10000000 makes 320000000 multipliers, more than 1048576; make it smaller"),
        (1, "fanout_x", 0, "must be positive, got 0"),
        (1, "fanout_x", -14, "must be positive, got -14"),
        (1, "size_bits", -8.0, "must be positive, got -8"),
        (1, "size_bits", math.nan, "must be positive, got nan"),
        (0, "words_per_cycle", 0.0, "must be positive, got 0"),
        (1, "read_energy_pj", -1.0, "must not be negative, got -1"),
        (1, "write_energy_pj", math.inf, "must be finite, got inf"),
        (1, "leakage_mw", math.nan, "must not be negative, got nan"),
        (1, "update_energy_pj", -2.0, "must not be negative, got -2"),
        (1, "holds", ("weight",), "unknown operand 'weight' (did you mean 'weights'?"),
        (1, "holds", (), "must name one operand or more"),
        (0, "holds", ("weights", "inputs"), "no home for outputs"),
        (1, "loops", ("k",), "unknown dim 'k'"),
        (1, "bus_words_per_cycle", (4.0, 0.0, 4.0), "inputs must be positive, got 0"),
        (1, "bus_words_per_cycle", (4.0, 1.0, math.nan), "outputs must be positive, got nan"),
        (2, "name", "glb", "two memories are called 'glb'"),
    ],
)
def test_a_flaw_in_a_memory_is_named(machine, index, field, value, says):
    path, problem = machine_flaw(with_memory(machine, index, **{field: value}))
    assert path == ("memories", index, field)
    assert says in problem


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"clock_mhz": 0.0}, ("clock_mhz",)),
        ({"technology_nm": math.inf}, ("technology_nm",)),
        ({"other_area_mm2": -1.0}, ("other_area_mm2",)),
        ({"bits": (8, 0, 8)}, ("bits", 1)),
        ({"memories": ()}, ("memories",)),
    ],
)
def test_a_flaw_in_the_chip_is_named(machine, changes, path):
    assert machine_flaw(replace(machine, **changes))[0] == path


def test_a_flaw_in_the_multiplier_is_named(machine):
    broken = replace(machine, mac=replace(machine.mac, energy_pj=-0.1))
    assert machine_flaw(broken) == (("mac", "energy_pj"), "must not be negative, got -0.1")


def test_unbounded_bandwidth_and_capacity_are_no_flaw():
    dram = load_template("eyeriss").build().memories[0]
    assert math.isinf(dram.size_bits) and math.isinf(dram.read_words_per_cycle)
