"""Timeloop v4 architectures as templates."""

from __future__ import annotations

import pytest

from coevo.accelerator import System, load_template
from coevo.errors import SpecError
from coevo.library import list_data
from coevo.timeloop import v4
from coevo.timeloop.conventions import machine_seen
from coevo.timeloop.form import Form
from coevo.timeloop.importing import import_architecture
from coevo.timeloop.text import yaml_text
from coevo.workload import Layer

ONE_CHIP = [name for name in list_data("accelerators") if not isinstance(load_template(name).build({}), System)]
"""Templates of one accelerator."""

ARCHITECTURE = """\
architecture:
  version: 0.4
  nodes:
  - !Container
    name: system
    attributes: {technology: "32nm", global_cycle_seconds: 5e-9}
  - !Component
    name: DRAM
    class: DRAM
    attributes: {type: LPDDR4, width: 64, block_size: 8, datawidth: 8, shared_bandwidth: 4}
  - !Component
    name: sharedGlb
    class: smartbuffer_SRAM
    attributes: {memory_depth: 1024, memory_width: 64, datawidth: 8, n_banks: 32, read_bandwidth: 16}
    constraints:
      dataspace: {keep: [Inputs, Outputs], bypass: [Weights]}
  - !Container
    name: column
    spatial: {meshX: 14}
    constraints:
      spatial: {permutation: [N, C, P, R, S, Q, M], factors: [N=1, C=1, P=1, R=1, S=1]}
  - !Container
    name: PE
    spatial: {meshY: 12}
    constraints:
      spatial: {split: 4, permutation: [N, P, Q, R, S, C, M], factors: [N=1, P=1, Q=1, R=1]}
  - !Parallel
    nodes:
    - !Component
      name: weights
      class: smartbuffer_RF
      attributes: {depth: 192, width: 16, datawidth: 8, multiple_buffering: 2}
      constraints:
        dataspace: {keep: [Weights]}
        temporal: {factors: "N=1 M=1 P=1", permutation: [N, M, P]}
    - !Component
      name: sums
      class: smartbuffer_RF
      attributes: {depth: banks * 4, width: 16, datawidth: 16}
      constraints: {dataspace: {keep: [Outputs]}}
    - !Nothing {constraints: {dataspace: {keep: [Inputs]}}}
  - !Component
    name: mac
    class: intmac
    attributes: {datawidth: 8}
"""


def imported(tmp_path, text=ARCHITECTURE, name="mine"):
    file = tmp_path / "arch.yaml"
    file.write_text(text)
    made, notes = import_architecture([file], name)
    template = tmp_path / f"{name}.yaml"
    template.write_text(made)
    return load_template(str(template)).build({}), notes


def test_an_architecture_becomes_a_machine(tmp_path):
    machine, _ = imported(tmp_path)
    dram, glb, weights, sums = machine.memories
    assert [memory.name for memory in machine.memories] == ["dram", "shared_glb", "weights", "sums"]
    assert (machine.technology_nm, machine.clock_mhz, machine.bits) == (32, 200, (8, 8, 8))
    assert (dram.kind, dram.words_per_access, dram.words_per_cycle) == ("dram", 8, 4)
    assert (glb.kind, glb.holds, glb.size_bits, glb.words_per_access) == ("sram", ("inputs", "outputs"), 8192 * 8, 8)
    assert (glb.read_words_per_cycle, glb.fanout_x, glb.fanout_y) == (16, 14, 12)
    assert (weights.kind, weights.holds, weights.double_buffered) == ("registers", ("weights",), True)
    assert weights.size_bits == 192 * 2 * 8
    assert weights.loops == ("g", "c", "q", "r", "s")
    assert sums.holds == ("outputs",)
    assert (machine.dataflow.x, machine.dataflow.y) == (("q", "m"), ("s", "c", "m"))


def test_what_was_not_understood_is_listed_and_stands_in_the_template(tmp_path):
    _, notes = imported(tmp_path)
    text = (tmp_path / "mine.yaml").read_text()
    for note in (
        "sharedGlb: attributes.n_banks is not used",
        "weights: constraints.temporal.permutation is not used",
        f"sums: depth 'banks * 4' ({tmp_path}/arch.yaml:39): nothing above it is named 'banks'; left out",
    ):
        assert note in notes
        assert f"# not understood or assumed: {note}" in text
    assert any(note.startswith("sums: words of 16 bits; here operands have 8 bits") for note in notes)


def test_a_machine_of_several_parts_is_refused_in_one_line():
    with pytest.raises(SpecError, match="nvdla_shidiannao is several accelerators on one chip, which Timeloop is not"):
        machine_seen(load_template("nvdla_shidiannao").build({}))


@pytest.mark.parametrize("name", ONE_CHIP)
def test_what_we_write_for_timeloop_comes_back(tmp_path, name):
    machine = load_template(name).build({})
    layer = Layer("all", "conv", n=2, g=2, m=2, c=2, p=2, q=2, r=2, s=2)
    files = []
    for file, data in v4.mapper_input(Form(layer, machine, 1.0)).items():
        files.append(tmp_path / file)
        files[-1].write_text(yaml_text(data))
    text, _ = import_architecture([file for file in files if file.stem in ("architecture", "constraints")], "back")
    (tmp_path / "back.yaml").write_text(text)
    back = load_template(str(tmp_path / "back.yaml")).build({})
    for was, now in zip(machine.memories, back.memories, strict=True):
        for part in ("name", "holds", "fanout_x", "fanout_y", "loops", "double_buffered", "size_bits",
                     "words_per_cycle", "read_words_per_cycle", "write_words_per_cycle"):  # fmt: skip
            assert getattr(now, part) == getattr(was, part), (was.name, part)
    assert back.clock_mhz == pytest.approx(machine.clock_mhz)
    assert back.bits == machine.bits
    assert set(back.dataflow.x) <= set(machine.dataflow.x)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("problem: {}\n", r"arch\.yaml: holds no `architecture` of Timeloop v4"),
        ("architecture: {subtree: []}\n", r"arch\.yaml: architecture: is of Timeloop's older format"),
        ("architecture: {nodes: 3}\n", r"arch\.yaml: architecture: has no list `nodes`"),
        ("architecture: [\n", r"arch\.yaml:2: not YAML"),
        ("- 1\n", r"arch\.yaml: must hold a table"),
        ("architecture: {nodes: [!Component {name: a, class: DRAM}]}\n", "has no compute"),
        ("architecture: {nodes: [!Component {name: a, class: intmac}]}\n", "has no memory"),
    ],
)
def test_what_is_no_architecture_is_one_line(tmp_path, text, problem):
    with pytest.raises(SpecError, match=problem):
        imported(tmp_path, text)


def test_the_command_writes_a_template_that_evaluate_takes(tmp_path, monkeypatch, capsys):
    from coevo.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "arch.yaml").write_text(ARCHITECTURE.replace("banks * 4", "16"))

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        return caught.value.code

    assert call("import", "arch.yaml", "--name", "mine") == 0
    assert "mine: 4 memories, 168 multipliers" in capsys.readouterr().out
    assert call("map", "--accelerator", "mine", "--layer", "m=8 c=4 p=6 q=6 r=3 s=3") == 0
    assert call("import", "arch.yaml", "--name", "mine") == 2
    assert "is there already" in capsys.readouterr().err
    assert call("import", "arch.yaml", "--name", "My Chip") == 2
    assert "--name: a template's name is small letters" in capsys.readouterr().err
