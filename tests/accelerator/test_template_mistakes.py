"""Mistakes in accelerator files: each is one line that names file, line, field, value and cure."""

import re

import pytest
from toy_accelerator import GOOD

from coevo.accelerator import technology
from coevo.errors import SpecError

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
    "empty value": ("words_per_cycle: 4", "words_per_cycle:", 10, "memories.dram.words_per_cycle", "is empty; give a"),
    "empty energy": ("energy_pj: 0.4", "energy_pj: ~", 7, "mac.energy_pj", "is empty; give a value or remove the line"),
    "empty array": ("pe_array: {rows: 4, columns: 8}", "pe_array:", 8, "pe_array", "is empty"),
    "no array": ("pe_array: {rows: 4, columns: 8}\n", "", 1, "pe_array", "is missing, and no memory has a fanout"),
    "expression": ("size_kib: 64", "size_kib: 2 * banks", 11, "memories.glb.size_kib", "plain number, got '2 * banks'"),
    "size in text": ("size_kib: 64", "size_kib: 1 MB", 11, "memories.glb.size_kib", "plain number, got '1 MB'"),
    "infinite size": ("size_kib: 64", "size_kib: .inf", 11, "memories.glb.size_kib", "finite number, got inf"),
    "NaN bandwidth": ("words_per_cycle: 4", "words_per_cycle: .nan", 10, "memories.dram.words_per_cycle", "got nan"),
    "negative fan-out": ("size_words: 16", "size_words: 16, fanout: {x: -14}", 12, "memories.spad.fanout.x", "got -14"),
    "absurd fan-out of the innermost memory": (
        "size_words: 16",
        "size_words: 16, fanout: {x: 65536}",
        12,
        "memories.spad.fanout",
        "2097152 multipliers are more than 1048576",
    ),
    "fan-out beyond any chip": (
        "size_words: 16",
        "size_words: 16, fanout: {x: 99999}",
        12,
        "memories.spad.fanout.x",
        "99999",
    ),
    "systolic as a number": ("columns: 8}", "columns: 8, systolic: 1}", 8, "pe_array.systolic", "boolean, got 1"),
    "negative bandwidth": (
        "words_per_cycle: 4",
        "read_words_per_cycle: -4",
        10,
        "memories.dram.read_words_per_cycle",
        "greater than 0, got -4",
    ),
    "negative energy of a memory": (
        "read_energy_pj: 10",
        "read_energy_pj: -10",
        11,
        "memories.glb.read_energy_pj",
        "greater than 0, got -10",
    ),
    "negative leakage": ("read_energy_pj: 10", "leakage_mw: -1", 11, "memories.glb.leakage_mw", "got -1"),
    "unknown kind of DRAM": ("kind: dram", "kind: dram, dram: ddr9", 10, "memories.dram.dram", "'hbm2', got 'ddr9'"),
    "kind of DRAM of an SRAM": ("kind: sram", "kind: sram, dram: hbm2", 11, "memories.glb.dram", "'glb' is sram"),
    "loop over no dim": ("size_words: 16", "size_words: 16, loops: [k]", 12, "memories.spad.loops", "unknown dim 'k'"),
    "loop twice": ("size_words: 16", "size_words: 16, loops: [c, c]", 12, "memories.spad.loops", "a dim twice"),
    "loop over no dim in the outermost": (
        "words_per_cycle: 4",
        "loops: [c, k]",
        10,
        "memories.dram.loops",
        "unknown dim 'k'",
    ),
    "bus without width": (
        "columns: 8}",
        "columns: 8, bus_words_per_cycle: {inputs: 0}}",
        8,
        "pe_array.bus_words_per_cycle.inputs",
        "greater than 0, got 0",
    ),
    "negative bus": (
        "columns: 8}",
        "columns: 8, bus_words_per_cycle: {weights: 4, outputs: -4}}",
        8,
        "pe_array.bus_words_per_cycle.outputs",
        "greater than 0, got -4",
    ),
    "infinite bus": (
        "columns: 8}",
        "columns: 8, bus_words_per_cycle: {weights: .inf}}",
        8,
        "pe_array.bus_words_per_cycle.weights",
        "got inf",
    ),
    "empty bus": (
        "columns: 8}",
        "columns: 8, bus_words_per_cycle: {weights: }}",
        8,
        "pe_array.bus_words_per_cycle.weights",
        "is empty",
    ),
    "bus of no operand": (
        "columns: 8}",
        "columns: 8, bus_words_per_cycle: {weight: 4}}",
        8,
        "pe_array.bus_words_per_cycle.weight",
        "did you mean 'weights'?",
    ),
    "one width for all buses": (
        "columns: 8}",
        "columns: 8, bus_words_per_cycle: 4}",
        8,
        "pe_array.bus_words_per_cycle",
        "got 4",
    ),
    "bus of no operand below a memory": (
        "size_words: 16",
        "size_words: 16, fanout: {x: 2, bus_words_per_cycle: {psums: 4}}",
        12,
        "memories.spad.fanout.bus_words_per_cycle.psums",
        "unknown key",
    ),
    "negative bus below a memory": (
        "size_words: 16",
        "size_words: 16, fanout: {x: 2, bus_words_per_cycle: {inputs: -1}}",
        12,
        "memories.spad.fanout.bus_words_per_cycle.inputs",
        "greater than 0, got -1",
    ),
    "memories inside out": (
        re.compile("  - ({name: dram.*})\n  - (.*)\n  - (.*)\n"),
        r"  - \3\n  - \2\n  - \1\n",
        10,
        "memories.spad.kind",
        "memories out of order: the first must be the DRAM, 'spad' is registers",
    ),
    "vary to no fan-out": (
        "{from: 2, to: 9, step: 3}",
        "{from: 0, to: 8, step: 4}",
        16,
        "vary.pe_array.rows",
        "0 makes no machine",
    ),
    "vary to a fan-out beyond any chip": (
        "{from: 2, to: 9, step: 3}",
        "{any_of: [4, 60000000]}",
        16,
        "vary.pe_array.rows",
        "60000000 makes no machine: pe_array.rows",
    ),
    "vary to nothing": ("[weight_stationary, free]", "[free, ~]", 17, "vary.dataflow.any_of", "a name, got None"),
    "vary a list": (
        "memories.glb.size_kib: {from: 32, to: 128, times: 2}",
        "memories.glb.loops: {any_of: [c]}",
        15,
        "vary.memories.glb.loops",
        "there is no such field",
    ),
}

# Mutations of hardware files that two other tools were tried on (ZigZag 3.9.1, AccelForge 1.0.467; most were accepted),
# each with the mistakes above that are the same in a file of ours.
TRIED_ELSEWHERE = {
    "misspelled key": ("misspelled key", "misspelled key in a memory"),
    "misspelled component or operand name": ("unknown operand", "unknown below", "unknown kind", "unknown dataflow"),
    "size given as text": ("size in text", "unit in the value", "quoted number"),
    "negative size": ("negative size",),
    "array size 0 or fan-out 0": ("no rows", "zero fan-out", "zero size"),
    "negative fan-out": ("negative columns", "negative fan-out"),
    "zero bandwidth": ("zero bandwidth", "negative bandwidth", "NaN bandwidth"),
    "negative energy": ("negative energy", "negative energy of a memory", "free energy", "NaN energy"),
    "missing energy": ("empty energy",),
    "an operand with no memory at all": ("no home",),
    "a memory that no operand is allocated to": ("holds nothing",),
    "unknown tensor name in a memory": ("unknown operand",),
    "memories in the wrong order": (
        "memories inside out",
        "DRAM innermost",
        "no DRAM outside",
        "SRAM inside registers",
    ),
    "no compute node": ("no array", "empty array"),
    "bad name inside an expression": ("expression",),
    "a buffer too small for one element": ("too small for one word", "too small when halved"),
    "duplicate key or node": ("duplicate key", "same name"),
}


def check_refusal(load, mistake):
    old, new, line, field, says = MISTAKES[mistake]
    text = old.sub(new, GOOD, count=1) if isinstance(old, re.Pattern) else GOOD.replace(old, new, 1)
    assert text != GOOD
    with pytest.raises(SpecError) as caught:
        load(text)
    message = str(caught.value)
    assert "\n" not in message
    assert f"toy.yaml:{line}: {field}: " in message, message
    assert says in message, message


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_file_line_field_and_cure(load, mistake):
    check_refusal(load, mistake)


@pytest.mark.parametrize("row", TRIED_ELSEWHERE)
def test_what_other_tools_were_tried_on_is_refused(load, row):
    for mistake in TRIED_ELSEWHERE[row]:
        check_refusal(load, mistake)


def test_an_energy_that_is_left_out_is_derived_and_not_zero(load):
    machine = load(GOOD.replace("mac: {energy_pj: 0.4}\n", "").replace(", read_energy_pj: 10", "")).build()
    assert machine.mac.energy_pj == technology.mac(8, 8, 45).energy_pj > 0
    for memory in machine.memories:
        assert memory.read_energy_pj > 0 and memory.write_energy_pj > 0


def test_a_buffer_that_is_too_small_is_named_with_need_and_capacity(load):
    with pytest.raises(SpecError) as caught:
        load(GOOD.replace("size_kib: 64", "size_bytes: 2"))
    message = str(caught.value)
    assert "memories.glb.size_bytes: 2 is too small" in message
    assert "one word of inputs, outputs takes 24 bits, there are 16; make it larger" in message


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
