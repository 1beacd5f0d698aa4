"""Accelerator files: what they mean, how given figures scale, and that every mistake is one clear line."""

import json
import math
import pickle
import re

import pytest

from coevo.accelerator import describe, load_template, technology
from coevo.errors import SpecError

GOOD = """\
schema: 1
name: toy
description: a small machine
technology_nm: 45
clock_mhz: 500
word_bits: {weights: 8, inputs: 8, outputs: 16}
mac: {energy_pj: 0.4}
pe_array: {rows: 4, columns: 8}
memories:
  - {name: dram, kind: dram, holds: [weights, inputs, outputs], words_per_cycle: 4}
  - {name: glb, kind: sram, holds: [inputs, outputs], size_kib: 64, words_per_access: 4, read_energy_pj: 10}
  - {name: spad, kind: registers, holds: [weights], size_words: 16, double_buffered: true}
dataflow: weight_stationary
vary:
  memories.glb.size_kib: {from: 32, to: 128, times: 2}
  pe_array.rows: {from: 2, to: 9, step: 3}
  dataflow: {any_of: [weight_stationary, free]}
"""


@pytest.fixture
def load(tmp_path):
    def write_and_load(text=GOOD, **arguments):
        path = tmp_path / "toy.yaml"
        path.write_text(text, encoding="utf-8")
        return load_template(str(path), **arguments)

    return write_and_load


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
    text = GOOD.replace("pe_array: {rows: 4, columns: 8}\n", "")
    template = load(text, vary=vary)
    machine = template.build({"memories.glb.words_per_cycle": 4.5, "memories.glb.fanout.x": 2, "word_bits": 16})
    assert machine.memories[1].words_per_cycle == 4.5
    assert machine.pes == 2
    assert machine.bits == (16, 16, 16)


def test_short_word_bits_may_vary_by_operand(load):
    text = re.sub("word_bits: .*", "word_bits: 8", GOOD, count=1)
    assert load(text).build({"word_bits.outputs": 32}).bits == (8, 8, 32)


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


MISTAKES = {
    # what is wrong: (text to replace, by what, line, dotted field, what the message says)
    "misspelled key": ("clock_mhz: 500", "clok_mhz: 500", 5, "clok_mhz", "unknown key (did you mean 'clock_mhz'?"),
    "misspelled key in a memory": (
        "size_kib: 64",
        "size_kb: 64",
        11,
        "memories.glb.size_kb",
        "did you mean 'size_kib'?",
    ),
    "duplicate key": (
        "clock_mhz: 500",
        "clock_mhz: 500\nclock_mhz: 9",
        6,
        "clock_mhz",
        "stands twice (first on line 5)",
    ),
    "no schema": ("schema: 1", "# none", 2, "schema", "add `schema: 1`"),
    "another schema": ("schema: 1", "schema: 2", 1, "schema", "2 is not known; this coevo reads schema 1"),
    "missing key": ("clock_mhz: 500\n", "", 1, "clock_mhz", "is missing; add it"),
    "no memories": (re.compile("memories:.*?dataflow", re.DOTALL), "dataflow", 1, "memories", "is missing"),
    "unit in the value": (
        "size_kib: 64",
        "size_kib: 108 KB",
        11,
        "memories.glb.size_kib",
        "plain number, got '108 KB'",
    ),
    "quoted number": ("clock_mhz: 500", 'clock_mhz: "500"', 5, "clock_mhz", "plain number, got '500'"),
    "sexagesimal trap": ("clock_mhz: 500", "clock_mhz: 8:20", 5, "clock_mhz", "plain number, got '8:20'"),
    "boolean word": ("double_buffered: true", "double_buffered: yes", 12, "memories.spad.double_buffered", "got 'yes'"),
    "boolean for a number": ("clock_mhz: 500", "clock_mhz: true", 5, "clock_mhz", "got True"),
    "infinite clock": ("clock_mhz: 500", "clock_mhz: .inf", 5, "clock_mhz", "got inf"),
    "overflowing clock": ("clock_mhz: 500", "clock_mhz: 1e999", 5, "clock_mhz", "got inf"),
    "NaN energy": ("energy_pj: 0.4", "energy_pj: .nan", 7, "mac.energy_pj", "got nan"),
    "zero clock": ("clock_mhz: 500", "clock_mhz: 0", 5, "clock_mhz", "greater than 0, got 0"),
    "negative clock": ("clock_mhz: 500", "clock_mhz: -500", 5, "clock_mhz", "greater than 0, got -500"),
    "impossible node": ("technology_nm: 45", "technology_nm: 3", 4, "technology_nm", "equal to 7, got 3"),
    "zero size": ("size_kib: 64", "size_kib: 0", 11, "memories.glb.size_kib", "greater than 0, got 0"),
    "negative size": ("size_kib: 64", "size_kib: -64", 11, "memories.glb.size_kib", "greater than 0, got -64"),
    "half a word": ("size_words: 16", "size_words: 1.5", 12, "memories.spad.size_words", "got 1.5"),
    "no rows": ("rows: 4", "rows: 0", 8, "pe_array.rows", "equal to 1, got 0"),
    "negative columns": ("columns: 8", "columns: -14", 8, "pe_array.columns", "equal to 1, got -14"),
    "too many multipliers": ("rows: 4, columns: 8", "rows: 4096, columns: 4096", 8, "pe_array", "16777216 multipliers"),
    "zero bandwidth": (
        "words_per_cycle: 4",
        "words_per_cycle: 0",
        10,
        "memories.dram.words_per_cycle",
        "than 0, got 0",
    ),
    "negative energy": ("energy_pj: 0.4", "energy_pj: -1", 7, "mac.energy_pj", "greater than 0, got -1"),
    "free energy": ("read_energy_pj: 10", "read_energy_pj: 0", 11, "memories.glb.read_energy_pj", "than 0, got 0"),
    "free area": ("read_energy_pj: 10", "area_mm2: 0", 11, "memories.glb.area_mm2", "greater than 0, got 0"),
    "area of DRAM": ("words_per_cycle: 4", "area_mm2: 40", 10, "memories.dram.area_mm2", "off chip and has no area"),
    "no size": (", size_kib: 64", "", 11, "memories.glb", "give exactly one of size_kib, size_bytes, size_words"),
    "two sizes": (
        "size_kib: 64",
        "size_kib: 64, size_words: 9",
        11,
        "memories.glb.size_words",
        "stands beside size_kib",
    ),
    "too small for one word": ("size_kib: 64", "size_bytes: 2", 11, "memories.glb.size_bytes", "takes 24 bits"),
    "too small when halved": (
        "size_words: 16",
        "size_words: 1",
        12,
        "memories.spad.size_words",
        "there are 4; make it",
    ),
    "unknown operand": ("[inputs, outputs]", "[input, outputs]", 11, "memories.glb.holds", "did you mean 'inputs'?"),
    "operand twice": ("[inputs, outputs]", "[inputs, inputs]", 11, "memories.glb.holds", "names an operand twice"),
    "holds nothing": ("[inputs, outputs]", "[]", 11, "memories.glb.holds", "at least 1 item"),
    "no home": ("[weights, inputs, outputs]", "[weights, inputs]", 10, "memories.dram.holds", "no home for outputs"),
    "unknown kind": ("kind: sram", "kind: rram", 11, "memories.glb.kind", "'dram', 'sram' or 'registers', got 'rram'"),
    "DRAM innermost": ("kind: registers", "kind: dram", 12, "memories.spad.kind", "only the first may be dram"),
    "no DRAM outside": ("kind: dram", "kind: sram", 10, "memories.dram.kind", "the first must be the DRAM"),
    "SRAM inside registers": (
        re.compile("kind: sram(.*)kind: registers", re.DOTALL),
        r"kind: registers\1kind: sram",
        12,
        "memories.spad.kind",
        "memories out of order: sram 'spad' inside registers 'glb'",
    ),
    "same name": ("name: spad", "name: glb", 12, "memories.glb.name", "two memories are called 'glb'"),
    "dot in a name": ("name: spad", "name: s.pad", 12, "memories.s.pad.name", "got 's.pad'"),
    "memories as a mapping": (
        re.compile("memories:.*?dataflow", re.DOTALL),
        "memories: {glb: 1}\ndataflow",
        9,
        "memories",
        "list",
    ),
    "unknown below": (
        "columns: 8}",
        "columns: 8, below: gbl}",
        8,
        "pe_array.below",
        "no memory 'gbl' (did you mean 'glb'?",
    ),
    "two fan-outs": ("size_kib: 64", "size_kib: 64, fanout: {x: 2}", 11, "memories.glb.fanout", "fan-out of pe_array"),
    "zero fan-out": ("size_words: 16", "size_words: 16, fanout: {x: 0}", 12, "memories.spad.fanout.x", "got 0"),
    "unknown dataflow": (
        "dataflow: weight_stationary\n",
        "dataflow: weight_stat\n",
        13,
        "dataflow",
        "'weight_stationary'?",
    ),
    "unknown dim": (
        "dataflow: weight_stationary\n",
        "dataflow: {x: [k], y: [c]}\n",
        13,
        "dataflow.x",
        "unknown dim 'k'",
    ),
    "dim twice": ("dataflow: weight_stationary\n", "dataflow: {x: [m, m], y: [c]}\n", 13, "dataflow.x", "a dim twice"),
    "unknown stationary": (
        "dataflow: weight_stationary\n",
        "dataflow: {x: [m], y: [c], stationary: weight}\n",
        13,
        "dataflow.stationary",
        "did you mean 'weights'?",
    ),
    "known name for an own dataflow": (
        "dataflow: weight_stationary\n",
        "dataflow: {name: free, x: [m], y: [c]}\n",
        13,
        "dataflow.name",
        "choose another name",
    ),
    "one operand's bits missing": (", outputs: 16}", "}", 6, "word_bits.outputs", "is missing"),
    "no bits": ("weights: 8", "weights: 0", 6, "word_bits.weights", "equal to 1, got 0"),
    "vary a memory there is not": (
        "memories.glb.size_kib",
        "memories.gbl.size_kib",
        15,
        "vary.memories.gbl.size_kib",
        "'glb'?",
    ),
    "vary a field there is not": (
        "memories.glb.size_kib",
        "memories.glb.size",
        15,
        "vary.memories.glb.size",
        "size_kib'?",
    ),
    "vary another size unit": (
        "memories.glb.size_kib",
        "memories.glb.size_words",
        15,
        "vary.memories.glb.size_words",
        "no such field",
    ),
    "vary a top-level field there is not": ("pe_array.rows:", "rows:", 16, "vary.rows", "there is no such field"),
    "vary to an invalid machine": (
        "{from: 32, to: 128",
        "{from: 0.001, to: 64",
        15,
        "vary.memories.glb.size_kib",
        "0.001 makes no machine: memories.glb.size_kib",
    ),
    "vary to an unknown dataflow": (
        "[weight_stationary, free]",
        "[free, rowstat]",
        17,
        "vary.dataflow",
        "'rowstat' makes no machine",
    ),
    "vary to text": (
        "{from: 2, to: 9, step: 3}",
        "{any_of: [4, many]}",
        16,
        "vary.pe_array.rows",
        "'many' makes no machine",
    ),
    "empty list": ("[weight_stationary, free]", "[]", 17, "vary.dataflow.any_of", "at least one value"),
    "value twice": ("[weight_stationary, free]", "[free, free]", 17, "vary.dataflow.any_of", "'free' stands twice"),
    "nested value": ("[weight_stationary, free]", "[{x: 1}]", 17, "vary.dataflow.any_of", "number or a name"),
    "from above to": (
        "from: 32, to: 128",
        "from: 128, to: 32",
        15,
        "vary.memories.glb.size_kib.from",
        "greater than `to`, 32",
    ),
    "times 1": ("times: 2", "times: 1", 15, "vary.memories.glb.size_kib.times", "1 must be greater than 1"),
    "times from 0": ("from: 32, to: 128", "from: 0, to: 128", 15, "vary.memories.glb.size_kib.from", "greater than 0"),
    "step 0": ("step: 3", "step: 0", 16, "vary.pe_array.rows.step", "0 must be greater than 0"),
    "step with a unit": ("step: 3", "step: 3 rows", 16, "vary.pe_array.rows.step", "plain number, got '3 rows'"),
    "endless range": ("step: 3", "step: 0.0001", 16, "vary.pe_array.rows.step", "70001 choices are more than 10000"),
    "both step and times": (
        "step: 3",
        "step: 3, times: 2",
        16,
        "vary.pe_array.rows",
        "got the keys from, step, times, to",
    ),
    "misspelled rule": ("step: 3", "stp: 3", 16, "vary.pe_array.rows.stp", "did you mean 'step'?"),
    "rule is a number": ("{from: 2, to: 9, step: 3}", "4", 16, "vary.pe_array.rows", "must be one of {from: 4"),
    "vary is a number": (re.compile("vary:.*", re.DOTALL), "vary: 0", 14, "vary", "must map dotted paths to values"),
    "step next to nothing": ("step: 3", "step: 1e-320", 16, "vary.pe_array.rows.step", "more than 10000"),
    "absurd end": ("to: 9", "to: 1" + 400 * "0", 16, "vary.pe_array.rows.to", "plain number"),
    "absurd size": ("size_kib: 64", "size_kib: 1" + 400 * "0", 11, "memories.glb.size_kib", "got inf"),
    "vary is a list": (re.compile("vary:.*", re.DOTALL), "vary: [1]\n", 14, "vary", "must map dotted paths to values"),
    "overlapping rules": (
        "  pe_array.rows: {from: 2, to: 9, step: 3}",
        "  word_bits: {any_of: [8]}\n  word_bits.inputs: {any_of: [8]}",
        17,
        "vary.word_bits.inputs",
        "overlaps word_bits",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_file_line_field_and_cure(load, mistake):
    old, new, line, field, says = MISTAKES[mistake]
    text = old.sub(new, GOOD, count=1) if isinstance(old, re.Pattern) else GOOD.replace(old, new, 1)
    assert text != GOOD
    with pytest.raises(SpecError) as caught:
        load(text)
    message = str(caught.value)
    assert "\n" not in message
    assert f"toy.yaml:{line}: {field}: " in message, message
    assert says in message, message


@pytest.mark.parametrize(
    ("vary", "field", "says"),
    [
        ({"memories.gbl.size_kib": {"any_of": [1]}}, "vary.memories.gbl.size_kib", "did you mean 'glb'?"),
        ({"pe_array.rows": {"from": 4, "to": 2, "step": 1}}, "vary.pe_array.rows.from", "swap them"),
        ({"pe_array.rows": {"any_of": [0]}}, "vary.pe_array.rows", "0 makes no machine"),
        ({"pe_array.rows": {"any_of": [float("nan")]}}, "vary.pe_array.rows", "makes no machine"),
        ({"clock_mhz": {"from": 1, "to": float("inf"), "step": 1}}, "vary.clock_mhz.to", "plain number"),
    ],
)
def test_a_mistake_in_an_experiments_vary_names_the_experiment(load, vary, field, says):
    with pytest.raises(SpecError) as caught:
        load(near_file="experiment.yaml", vary=vary)
    assert str(caught.value).startswith(f"experiment.yaml: {field}: ")
    assert says in str(caught.value)


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
