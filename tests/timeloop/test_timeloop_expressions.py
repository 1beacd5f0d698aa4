"""What expressions of Timeloop v4 files stand for, and what is said of those that stand for nothing."""

from __future__ import annotations

import math
import re

import pytest

from coevo.accelerator import load_template
from coevo.errors import SpecError
from coevo.timeloop.expressions import NotEvaluatedError, evaluate
from coevo.timeloop.importing import import_architecture

NAMES = {
    "datawidth": 8,
    "rows": 3,
    "text": "32nm",
    "glb": {"attributes": {"width": 64}, "spatial": {"meshX": 4}},
    "list": [5],
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1024 * 8", 8192),
        ("datawidth * 4", 32),
        ("depth_of - 1", None),
        ("-rows + 2 ** 4 % 9 // 2", 0),
        ("max(1, ceil(log2(rows))) if rows >= 1 else 1", 2),  # as example_designs/_components/smartbuffer_RF.yaml
        ("(8/11) ** datawidth", (8 / 11) ** 8),  # as arch_spec_examples/raella/arch.yaml
        ("0.43 if rows else 1", 0.43),  # as arch_spec_examples/raella/variables.yaml
        ("rows == 4", False),
        ('glb.attributes["width"] // rows', 21),  # as cheatsheets/3_architecture.yaml
        ("glb.spatial.meshX + list[0]", 9),
        ("5e-9", 5e-9),
        ("round(min(2.6, 3)) + int(2.9) + floor(-0.5) + trunc(1.5) + abs(-2) + gcd(8, 12)", 3 + 2 - 1 + 1 + 2 + 4),
        ("sqrt(pow(2, 4)) + exp(0) + log(e) + log10(100) + float(1) + pi - pi", 4 + 1 + 1 + 2 + 1),
        ("text", "32nm"),
        (" ( datawidth ) ", 8),
    ],
)
def test_an_expression_is_what_python_says_of_it(text, value):
    if value is None:
        with pytest.raises(NotEvaluatedError, match="nothing above it is named 'depth_of'"):
            evaluate(text, NAMES)
        return
    assert evaluate(text, NAMES) == pytest.approx(value) if isinstance(value, float) else evaluate(text, NAMES) == value


def test_an_attribute_goes_before_a_constant_of_its_name():
    assert (evaluate("e", {}), evaluate("e", {"e": 3})) == (math.e, 3)
    with pytest.raises(NotEvaluatedError, match="is more than"):
        evaluate("max(1, 2)", {"max": 3})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("__import__('os').system('true')", "is more than numbers, names"),
        ("(1).__class__", "there is no 1 .__class__"),
        ("glb.attributes.items()", "is more than"),
        ("glb.attributes.keys", "there is no glb.attributes.keys"),
        ("list[-1]", "is more than"),
        ("list[7]", r"there is no list\[7\]"),
        ("lambda x: x", "is more than"),
        ("[0.2] * 8", "is more than"),
        ("max(key=3)", "is more than"),
        ("1 < 2 < 3", "is more than"),
        ("1 << 3", "an operator that is none of"),
        ("~1", "an operator that is none of"),
        ("9 ** 9 ** 9", "no number of a sensible size"),
        ("pow(9, 9999)", "no number of a sensible size"),
        ("2.0 ** 200 * 2.0 ** 200", "no number of a sensible size"),
        ("(-8) ** 0.5", "no number of a sensible size"),
        ("exp(9999)", "math range error"),
        ("1 / (rows - 3)", "division"),
        ("log2(0)", "math domain error|positive"),
        ("ceil(1, 2)", "takes exactly one argument"),
        ("text * 2", "'32nm' is no number"),
        ("glb", r"stands for no number \(a dict\)"),
        ("rows +", "no arithmetic expression"),
        ("32nm", "no arithmetic expression"),
        ("(" * 400 + "1" + ")" * 99, "no arithmetic expression"),
        ("1+" * 249 + "1", None),
        ("1+" * 251 + "1", "longer than 500 characters"),
    ],
)
def test_what_is_no_arithmetic_is_said_and_never_run(text, why):
    if why is None:
        assert evaluate(text, NAMES) == 250
        return
    with pytest.raises(NotEvaluatedError, match=why):
        evaluate(text, NAMES)


# In the forms of Accelergy-Project/timeloop-accelergy-exercises (2d55108), tutorial_exercises/
# 02_interface_and_design_space_exploration_2024/inputs: variables in a file of their own, jinja's defaults and
# conditions, sizes from other attributes, a split that needs the problem.
TUTORIAL = """\
architecture:
  version: 0.4
  nodes:
  - !Container {name: system}
  - !Component {name: DRAM, class: DRAM, attributes: {type: "LPDDR4", width: 64, datawidth: DATAWIDTH}}
  - !Component
    name: buffer
    class: SRAM
    attributes: {depth: 512, width: DATAWIDTH * 16, datawidth: DATAWIDTH}
  - !Container
    name: PE
    spatial: {meshX: 8}
    constraints:
      spatial: {permutation: [N, P, Q, R, S, C, M], factors: [N=1, P=1, Q=1, R=1], split: len(spec.problem.instance)}
    {% if reg_enabled|default(True) %}
  - !Component
    name: reg
    class: SRAM
    subclass: register
    attributes:
      datawidth: DATAWIDTH
      depth: 1
      width: datawidth * 3
    {% endif %}
  - !Component {name: mac, class: intmac, attributes: {multiplier_width: DATAWIDTH, adder_width: DATAWIDTH * 2}}
"""

VARIABLES = """\
variables:
  version: 0.4
  technology: "40nm"
  global_cycle_seconds: 2e-9
  DATAWIDTH: {{datawidth_jinja|default(8)}} # 8 bits is the default
"""

# In the forms of Accelergy-Project/timeloop-python (b8aaf2c), arch_spec_examples/raella, and of the exercises'
# cheatsheets/3_architecture.yaml: sizes by integer division, attributes of containers and of other nodes.
DERIVED = """\
architecture:
  nodes:
  - !Container {name: system, attributes: {technology: TECHNOLOGY, word: 8, columns: SIDE}}
  - !Component {name: DRAM, class: DRAM, attributes: {datawidth: word, width: 8 * word}}
  - !Component
    name: input_buffer
    class: SRAM
    attributes:
      width: 64
      depth: SUPPORTED_BITS * ROWS_PER_MACRO // width
      datawidth: DRAM.attributes["datawidth"]
      read_bandwidth: variables.ROWS_PER_ARRAY / 64
      n_rows: SIDE // 2
    spatial: {meshX: columns, meshY: n_rows}
  - !Parallel
    nodes:
    - !Container {name: left, attributes: {word: 16}}
    - !Component {name: sums, class: regfile, attributes: {datawidth: 8, width: word, depth: 2}}
  - !Component
    name: sink
    class: regfile
    attributes: {datawidth: 8, width: word, depth: input_buffer.spatial.meshX, block_size: sums.attributes.depth - 1}
  - !Component {name: mac, class: intmac}
variables:
  SIDE: 2 ** 4
  SUPPORTED_BITS: 8
  ROWS_PER_ARRAY: SIDE * 32
  ROWS_PER_MACRO: ROWS_PER_ARRAY * 4
  TECHNOLOGY: 32
"""


def imported(folder, *texts):
    files = [folder / f"{name}.yaml" for name in ("arch", "variables")[: len(texts)]]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    made, notes = import_architecture(files, "mine")
    (folder / "mine.yaml").write_text(made)
    return load_template(str(folder / "mine.yaml")).build({}), notes


def test_the_tutorials_architecture_and_its_variables_become_a_machine(tmp_path):
    machine, notes = imported(tmp_path, TUTORIAL, VARIABLES)
    _, buffer, reg = machine.memories
    assert (machine.technology_nm, machine.clock_mhz, machine.bits) == (40, 500, (8, 8, 8))
    assert (buffer.size_bits, buffer.words_per_access, buffer.fanout_x) == (512 * 128, 16, 8)
    assert (reg.name, reg.kind, reg.size_bits) == ("reg", "registers", 24)
    assert machine.dataflow.x == ("s", "c", "m"), "without its split, all dims go along the columns"
    said = [note for note in notes if "left out" in note]
    place = f"constraints.spatial.split 'len(spec.problem.instance)' ({tmp_path}/arch.yaml:14)"
    assert len(said) == 1 and said[0].startswith(f"PE: {place}: ")


def test_names_stand_for_variables_containers_attributes_and_other_nodes(tmp_path):
    machine, notes = imported(tmp_path, DERIVED)
    dram, buffer, sums, sink = machine.memories
    assert not [note for note in notes if "left out" in note]
    assert (machine.technology_nm, machine.bits, dram.words_per_access) == (32, (8, 8, 8), 8)
    assert (buffer.size_bits, buffer.words_per_access, buffer.read_words_per_cycle) == (8 * 512 * 4, 8, 8)
    assert (buffer.fanout_x, buffer.fanout_y) == (1, 1) and (dram.fanout_x, dram.fanout_y) == (16, 8)
    assert (sums.words_per_access, sums.size_bits) == (2, 2 * 16), "the container of a branch is heard in it"
    assert (sink.words_per_access, sink.size_bits) == (1, 16 * 8), "and not after it"


def test_a_split_is_evaluated_and_variables_of_several_files_go_together(tmp_path):
    text = TUTORIAL.replace("len(spec.problem.instance)", "COLUMNS - 1")
    machine, _ = imported(tmp_path, f"{text}variables: {{COLUMNS: 6, DATAWIDTH: 4}}\n", VARIABLES)
    assert machine.dataflow.x == ("s",), "N, P, Q, R and S go along the columns, of which S is left"
    assert machine.bits == (8, 8, 8), "of two values, that of the later file"


def test_a_variable_is_no_attribute_but_technology_and_cycle_and_the_architecture_goes_before(tmp_path):
    text = DERIVED.replace("TECHNOLOGY: 32", "TECHNOLOGY: 32\n  technology: 7nm\n  global_cycle_seconds: 1e-9")
    assert imported(tmp_path, text)[0].technology_nm == 32
    machine, _ = imported(tmp_path, text.replace("technology: TECHNOLOGY, ", ""))
    assert (machine.technology_nm, machine.clock_mhz) == (7, 1000)


@pytest.mark.parametrize(
    ("was", "now", "note"),
    [
        (
            "depth: 512",
            "depth: 512 *",
            r"buffer: depth '512 \*' \(\S*arch.yaml:9\): no arithmetic expression; left out",
        ),
        ("depth: 512", 'depth: "512 * 2"', r"buffer: depth '512 \* 2' is no number; left out"),
        ("depth: 512", "depth: [512]", r"buffer: depth '\[512\]' is no number; left out"),
        ("depth: 512", "depth: 1000 / 3", "buffer: depth 333.333 is no whole number; 333 is taken"),
        ("depth: 512", "depth: width * 2", r"buffer: depth 'width \* 2' .*nothing above it is named 'width'"),
        ("meshX: 8", "meshX: ROWS", r"PE: spatial.meshX 'ROWS' \(\S*arch.yaml:12\): nothing above it is named 'ROWS'"),
        ("depth: 1\n", "depth: open('x')\n", r"reg: depth .*arch.yaml:22\): .* is more than numbers"),
    ],
)
def test_what_has_no_value_is_said_with_file_and_line(tmp_path, was, now, note):
    assert was in TUTORIAL
    (tmp_path / "arch.yaml").write_text(TUTORIAL.replace(was, now, 1))
    (tmp_path / "variables.yaml").write_text(VARIABLES)
    _, notes = import_architecture([tmp_path / "arch.yaml", tmp_path / "variables.yaml"], "mine")
    assert any(re.match(note, each) for each in notes), notes


def test_a_variable_without_value_is_said_where_it_is_used(tmp_path):
    _, notes = imported(
        tmp_path, TUTORIAL.replace("depth: 512", "depth: DEPTH / 2"), f"{VARIABLES}  DEPTH: nothing + 1\n"
    )
    why = f"'nothing + 1' ({tmp_path}/variables.yaml:6) is not evaluated: nothing above it is named 'nothing'"
    assert f"buffer: depth 'DEPTH / 2' ({tmp_path}/arch.yaml:9): {why}; left out" in notes


def test_lines_are_said_to_be_jinjas_where_it_drops_some(tmp_path):
    text = TUTORIAL.replace("default(True)", "default(False)").replace("adder_width", "width: 1 +, adder_width")
    machine, _ = imported(tmp_path, text.replace("meshX: 8", "meshX: X"), VARIABLES)
    assert [memory.name for memory in machine.memories] == ["dram", "buffer"]
    assert (
        f"(PE: spatial.meshX 'X' ({tmp_path}/arch.yaml as jinja renders it:12)"[1:]
        in (tmp_path / "mine.yaml").read_text()
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "# !include a\nx: !include other.yaml\n",
            r"arch\.yaml:2: '!include' is not followed; name the other file too",
        ),
        (
            "\nvariables: {{ include('v.yaml') }}\n",
            r"arch\.yaml:2: '\{\{ include' is not followed; .*import arch",
        ),
        ("a: 1\nb: {{ width }}\n", r"arch\.yaml:2: jinja: 'width' is undefined; write what it stands for in its place"),
        ("a: {{ range(3) }}\n", r"arch\.yaml:1: jinja: 'range' is undefined"),
        ("a: {{ ''.__class__.__mro__ }}\n", r"arch\.yaml:1: jinja: access to attribute '__class__' .* is unsafe"),
        ("a: {{ 1 / 0 }}\n", r"arch\.yaml:1: jinja: division by zero"),
        ("a: 1\n{% if %}\n", r"arch\.yaml:2: jinja: Expected an expression"),
        ("{% include 'other.yaml' %}\n", r"arch\.yaml:1: jinja: no loader"),
    ],
)
def test_what_jinja_cannot_render_is_one_line(tmp_path, text, problem):
    (tmp_path / "arch.yaml").write_text(text)
    with pytest.raises(SpecError, match=problem) as caught:
        import_architecture([tmp_path / "arch.yaml"], "mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("nodes", ["nodes: 3", "nodes: {a: 1}", "nodes: [3, [4]]", "name: x"])
def test_a_branch_without_nodes_is_empty(tmp_path, nodes):
    text = TUTORIAL.replace("  - !Component {name: mac", f"  - !Parallel {{{nodes}}}\n  - !Component {{name: mac")
    machine, _ = imported(tmp_path, text, VARIABLES)
    assert len(machine.memories) == 3
