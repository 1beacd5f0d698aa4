"""Accelerator files: what they mean, how given figures scale, and that every mistake is one clear line."""

import json
import math
import pickle
import re

import pytest
from toy_accelerator import GOOD

from coevo.accelerator import describe, load_template, technology
from coevo.accelerator.write import template_data
from coevo.errors import SpecError
from coevo.workload import DIMS


def test_a_file_becomes_a_machine(load):
    machine = load().build()
    dram, glb, spad = machine.memories
    assert (machine.name, machine.technology_nm, machine.clock_mhz, machine.bits) == ("toy", 45, 500, (8, 8, 16))
    assert math.isinf(dram.size_bits)
    assert dram.area_mm2 == 0
    assert dram.read_energy_pj == 8 * 16
    assert (dram.words_per_cycle, dram.read_words_per_cycle) == (4, math.inf)
    assert (glb.size_bits, glb.word_bits, glb.words_per_access) == (64 * 8192, 16, 4)
    assert (spad.size_bits, spad.word_bits, spad.usable_bits) == (128, 8, 64)
    assert machine.mac.energy_pj == 0.4
    assert machine.instances == (1, 1, 32)
    assert machine.pes == 32


def test_pe_array_lies_below_the_innermost_memory_that_is_not_registers(load):
    assert [(m.fanout_x, m.fanout_y) for m in load().build().memories] == [(1, 1), (8, 4), (1, 1)]
    moved = load(GOOD.replace("columns: 8}", "columns: 8, below: spad}")).build()
    assert [(m.fanout_x, m.fanout_y) for m in moved.memories] == [(1, 1), (1, 1), (8, 4)]


def test_what_is_left_out_is_derived(load):
    glb, spad = load().build().memories[1:]
    assert glb.write_energy_pj == technology.sram(64 * 1024, 64, 45).write_energy_pj
    assert glb.area_mm2 == technology.sram(64 * 1024, 64, 45).area_mm2
    assert spad.read_energy_pj == technology.registers(128, 8, 45).read_energy_pj


def test_rules_become_choices(load):
    fields = {field.path: field for field in load().fields}
    assert fields["memories.glb.size_kib"].choices == (32, 64, 128)
    assert fields["pe_array.rows"].choices == (2, 5, 8)
    assert fields["dataflow"].choices == ("weight_stationary", "free")
    assert [field.ordered for field in fields.values()] == [True, True, False]
    assert load().size == 18


def test_fractional_ranges_carry_no_noise(load):
    template = load(vary={"clock_mhz": {"from": 0.1, "to": 0.5, "step": 0.1}})
    assert template.fields[0].choices == (0.1, 0.2, 0.3, 0.4, 0.5)


def test_given_figures_scale_with_the_curve(load):
    template = load()
    glb = template.build({"memories.glb.size_kib": 128}).memories[1]
    ratio = technology.sram(128 * 1024, 64, 45).read_energy_pj / technology.sram(64 * 1024, 64, 45).read_energy_pj
    assert glb.read_energy_pj == pytest.approx(10 * ratio)
    assert glb.area_mm2 == technology.sram(128 * 1024, 64, 45).area_mm2
    assert template.build({"memories.glb.size_kib": 64}).memories[1].read_energy_pj == 10


def test_given_figures_follow_word_bits_and_technology(load):
    template = load()
    wide = template.build({"word_bits.weights": 16}).mac.energy_pj
    assert wide == pytest.approx(0.4 * technology.mac(16, 8, 45).energy_pj / technology.mac(8, 8, 45).energy_pj)
    small = template.build({"technology_nm": 16})
    assert small.mac.energy_pj == pytest.approx(0.4 * technology.energy_scale(16, 45))
    assert small.area_mm2 < template.build().area_mm2


def test_fields_the_file_leaves_out_may_vary(load):
    vary = {
        "memories.glb.words_per_cycle": {"any_of": [2, 4.5]},
        "memories.glb.fanout.x": {"any_of": [1, 2]},
        "mac.area_mm2": {"any_of": [0.001, 0.002]},
        "memories.spad.double_buffered": {"any_of": [True, False]},
        "sram_cell": {"any_of": ["hp", "lstp"]},
        "word_bits": {"any_of": [8, 16]},
    }
    text = GOOD.replace("pe_array: {rows: 4, columns: 8}\n", "").replace("size_words: 16", "size_words: 16, fanout: {}")
    template = load(text, vary=vary)
    machine = template.build({"memories.glb.words_per_cycle": 4.5, "memories.glb.fanout.x": 2, "word_bits": 16})
    assert machine.memories[1].words_per_cycle == 4.5
    assert machine.pes == 2
    assert machine.bits == (16, 16, 16)


def test_a_machine_may_stand_for_a_real_device(load):
    template = load(vary={"device": {"any_of": ["raspi4", "1080ti_1"]}})
    machine = template.build({"device": "1080ti_1"})
    assert (machine.device, load().build().device) == ("1080ti_1", "")
    assert len({machine.key, template.build({"device": "raspi4"}).key, load().build().key}) == 3
    assert load(GOOD.replace("technology_nm", "device: raspi4\ntechnology_nm", 1)).build().device == "raspi4"
    assert template_data(machine, "x")["device"] == "1080ti_1"
    assert "device" not in template_data(load().build(), "x")


def test_a_machine_that_stands_for_no_device_has_the_key_that_it_had_before_there_were_devices(load):
    assert load_template("eyeriss").build().key == "5ccb73e84c9528c87658d9e0"


def test_short_word_bits_may_vary_by_operand(load):
    text = re.sub("word_bits: .*", "word_bits: 8", GOOD, count=1)
    assert load(text).build({"word_bits.outputs": 32}).bits == (8, 8, 32)


def test_the_array_lies_where_a_memory_says(load):
    text = GOOD.replace("pe_array: {rows: 4, columns: 8}\n", "")
    text = text.replace("size_kib: 64", "size_kib: 64, fanout: {x: 3, y: 2}").replace(
        "size_words: 16", "size_words: 16, fanout: {y: 5}"
    )
    machine = load(text, vary={}).build()
    assert [(m.fanout_x, m.fanout_y) for m in machine.memories] == [(1, 1), (3, 2), (1, 5)]
    assert (machine.instances, machine.pes) == ((1, 1, 6), 30)


def test_a_memory_runs_the_loops_it_says_and_all_by_default(load):
    machine = load(GOOD.replace("size_words: 16", "size_words: 16, loops: [s, r]")).build()
    assert [memory.loops for memory in machine.memories] == [DIMS, DIMS, ("r", "s")]
    assert load(GOOD.replace("size_words: 16", "size_words: 16, loops: []")).build().memories[2].loops == ()
    assert machine.key != load().build().key


def test_the_outermost_memory_may_run_some_loops_only(load):
    machine = load(GOOD.replace("words_per_cycle: 4", "words_per_cycle: 4, loops: [q, p, m]")).build()
    assert machine.memories[0].loops == ("m", "p", "q")
    assert machine.key != load().build().key


def test_describe_says_which_loops_a_memory_runs(load):
    text = describe(load(GOOD.replace("size_words: 16", "size_words: 16, loops: [s, r]")))
    assert "spad runs the temporal loops r s only" in text
    assert "runs the temporal loops" not in describe(load())


def test_an_array_is_systolic_where_the_file_says(load):
    assert not any(memory.systolic for memory in load().build().memories)
    short = load(GOOD.replace("columns: 8}", "columns: 8, systolic: true}"))
    assert [memory.systolic for memory in short.build().memories] == [False, True, False]
    assert "4 rows x 8 columns, systolic" in describe(short)
    long = load(GOOD.replace("size_words: 16", "size_words: 16, fanout: {x: 2, systolic: true}"))
    assert [memory.systolic for memory in long.build().memories] == [False, False, True]
    either = load(vary={"pe_array.systolic": {"any_of": [False, True]}})
    assert either.build({"pe_array.systolic": True}).memories[1].systolic


def test_an_array_has_the_buses_that_the_file_gives_and_hides_the_rest(load):
    assert all(set(memory.bus_words_per_cycle) == {math.inf} for memory in load().build().memories)
    buses = "bus_words_per_cycle: {weights: 4, outputs: 0.5}"
    short = load(GOOD.replace("columns: 8}", f"columns: 8, {buses}}}")).build()
    assert [memory.bus_words_per_cycle for memory in short.memories] == [
        (math.inf,) * 3,
        (4, math.inf, 0.5),
        (math.inf,) * 3,
    ]
    long = load(GOOD.replace("size_words: 16", f"size_words: 16, fanout: {{x: 2, {buses}}}")).build()
    assert [math.isinf(memory.bus_words_per_cycle[0]) for memory in long.memories] == [True, True, False]
    assert short.key != load().build().key


def test_the_width_of_a_bus_may_vary(load):
    text = GOOD.replace("columns: 8}", "columns: 8, bus_words_per_cycle: {weights: 4}}")
    template = load(text, vary={"pe_array.bus_words_per_cycle.weights": {"any_of": [2, 4]}})
    assert template.build({"pe_array.bus_words_per_cycle.weights": 2}).memories[1].bus_words_per_cycle[0] == 2
    assert template.build().memories[1].bus_words_per_cycle[0] == 4


def test_dram_costs_what_its_kind_does(load):
    for kind, energy in technology.DRAM_PJ_PER_BIT.items():
        dram = load(GOOD.replace("kind: dram", f"kind: dram, dram: {kind}")).build().memories[0]
        assert (dram.read_energy_pj, dram.write_energy_pj) == (16 * energy, 16 * energy)


def test_another_kind_of_dram_does_not_scale_the_figure_of_the_first(load):
    text = GOOD.replace("words_per_cycle: 4}", "dram: ddr3, read_energy_pj: 187}")
    template = load(text, vary={"memories.dram.dram": {"any_of": ["ddr3", "hbm2"]}})
    assert template.build().memories[0].read_energy_pj == 187
    assert template.build({"memories.dram.dram": "hbm2"}).memories[0].read_energy_pj == 16 * 3.9
    assert "dram (ddr3)" in describe(template)


def test_choices_are_recorded_with_the_templates_own_values(load):
    machine = load().build({"pe_array.rows": 8})
    assert machine.choices == (("memories.glb.size_kib", 64), ("pe_array.rows", 8), ("dataflow", "weight_stationary"))


def test_equal_choices_give_equal_machines(load):
    template = load()
    said = template.build({"memories.glb.size_kib": 64.0}).choices
    assert (
        json.dumps(said)
        == json.dumps(template.build().choices)
        == json.dumps(template.build({"memories.glb.size_kib": 64}).choices)
    )
    assert template.build({"pe_array.rows": 8}).key == template.build({"pe_array.rows": 8}).key
    assert template.build({"pe_array.rows": 8}).key != template.build().key


def test_templates_travel_to_other_processes(load):
    template = pickle.loads(pickle.dumps(load()))
    assert template.build({"pe_array.rows": 8}).key == load().build({"pe_array.rows": 8}).key


def test_an_empty_vary_fixes_the_machine(load):
    assert load(vary={}).fields == ()
    assert load(vary={}).size == 1


def test_a_template_may_define_its_dataflow(load):
    own = "dataflow: {name: mine, x: [m, q], y: [c], stationary: outputs}"
    text = GOOD.replace("dataflow: weight_stationary\n", own + "\n").replace(
        "[weight_stationary, free]", "[mine, free]"
    )
    template = load(text)
    for machine in (template.build(), template.build({"dataflow": "mine"})):
        assert (machine.dataflow.x, machine.dataflow.y, machine.dataflow.stationary) == (("m", "q"), ("c",), "outputs")
    assert template.build({"dataflow": "free"}).dataflow.stationary is None


def test_describe_says_what_the_machine_is(load):
    text = describe(load())
    for part in (
        "45 nm",
        "500 MHz",
        "32 multipliers",
        "64 KiB",
        "10*",
        "4 rows x 8 columns",
        "18 machines",
        "32, 64, 128",
    ):
        assert part in text
    assert "16 B, double-buffered" in text
    assert "mm2 = glb" in text


def test_an_unknown_template_lists_the_known_ones():
    with pytest.raises(SpecError, match=r"no accelerator named 'eyeris' \(did you mean 'eyeriss'\?"):
        load_template("eyeris")


def test_building_an_unknown_path_names_the_near_one(load):
    with pytest.raises(SpecError, match=r"did you mean 'pe_array.rows'\?"):
        load().build({"pe_array.row": 4})


def test_values_that_clash_are_refused_by_build(load):
    template = load(
        vary={"memories.spad.size_words": {"any_of": [2, 4]}, "memories.spad.word_bits": {"any_of": [4, 8]}}
    )
    with pytest.raises(SpecError, match="too small: one word of weights takes 8 bits in each half"):
        template.build({"memories.spad.size_words": 2, "memories.spad.word_bits": 4})
