"""What is written of a machine loads as the same machine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coevo.accelerator import load_template
from coevo.accelerator.write import template_data
from coevo.errors import SpecError
from coevo.library import list_data
from coevo.report.export import accelerator_yaml


@pytest.mark.parametrize("name", list_data("accelerators"))
def test_any_machine_of_any_template_loads_as_itself(name, tmp_path):
    template, rng, built = load_template(name), np.random.default_rng(0), 0
    for i in range(12):
        chosen = {field.path: field.choices[rng.integers(len(field.choices))] for field in template.fields} if i else {}
        try:
            machine = template.build(chosen)
        except SpecError:  # values that are fine alone make no machine together
            continue
        (tmp_path / "a.yaml").write_text(accelerator_yaml(machine, "A machine"))
        again = load_template(str(tmp_path / "a.yaml"))
        assert (again.fields, again.description) == ((), "A machine")
        assert again.build() == machine and again.build().key == machine.key
        built += 1
    assert built > 5


def test_an_own_dataflow_and_a_single_multiplier_load_as_themselves(tmp_path):
    text = """\
schema: 1
name: one
description: One multiplier
technology_nm: 45
clock_mhz: 100
word_bits: {weights: 4, inputs: 8, outputs: 16}
pe_array: {rows: 1, columns: 1}
memories:
  - {name: dram, kind: dram, holds: [weights, inputs, outputs]}
  - {name: ram, kind: sram, holds: [weights, inputs, outputs], size_kib: 3.3, loops: [m, c]}
dataflow: {name: mine, x: [m], y: [c], stationary: inputs}
"""
    (tmp_path / "one.yaml").write_text(text)
    machine = load_template(str(tmp_path / "one.yaml")).build()
    (tmp_path / "again.yaml").write_text(accelerator_yaml(machine, "Again"))
    assert load_template(str(tmp_path / "again.yaml")).build() == machine


def test_a_chip_of_several_parts_keeps_its_clock_bandwidth_and_area_beside_them(tmp_path):
    chosen = {"other_area_mm2": 0.3, "dram.words_per_cycle": 7, "dram.kind": "lpddr5", "depthwise.clock_mhz": 400}
    machine = load_template("nvdla_shidiannao").build(chosen)
    (tmp_path / "again.yaml").write_text(accelerator_yaml(machine, "Again"))
    again = load_template(str(tmp_path / "again.yaml")).build()
    assert again == machine and again.area_mm2 == machine.area_mm2
    assert again.area_mm2 - load_template("nvdla_shidiannao").build().area_mm2 == pytest.approx(0.3)


def test_what_no_template_can_say_is_not_left_out_silently():
    machine = load_template("eyeriss").build()
    odd = replace(machine, memories=(replace(machine.memories[0], cluster_size=4), *machine.memories[1:]))
    with pytest.raises(ValueError, match=r"memory dram: .*clusters"):
        template_data(odd, "odd")
