"""``coevo map`` as users call it: what it prints, what it takes, and what it says of mistakes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from operator import mul
from pathlib import Path

import pytest

from coevo.accelerator import load_template, mapped_on
from coevo.cli import main
from coevo.cli.layer import read_layer
from coevo.cost import evaluate_mapping
from coevo.errors import SpecError
from coevo.library import list_data
from coevo.mapping import Mapping
from coevo.report.loop_nest import shape
from coevo.workload import Layer

CONV = "m=8 c=4 p=6 q=6 r=3 s=3"
MINE = """\
# every memory of Eyeriss, outermost first
- memory: dram
  temporal: [p=6, m=2]
- memory: glb
  temporal: [c=4]
  y: [r=3]
- memory: filter_spad
- memory: ifmap_spad
- memory: psum_spad
  temporal: [q=6, m=4, s=3]
"""


@pytest.fixture
def coevo(capsys, tmp_path, monkeypatch):
    """Calls the program from an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


@pytest.fixture
def data(coevo):
    """Calls ``coevo map --json``; returns what it printed."""

    def call(*arguments):
        code, out, err = coevo("map", *arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return call


@pytest.fixture
def complaint(coevo):
    """Calls ``coevo map`` with a mistake; returns its one line."""

    def call(*arguments):
        code, out, err = coevo("map", *arguments)
        assert code == 2, (out, err)
        assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err, err
        return err

    return call


MACHINES = [
    pytest.param((name, *(("--part", label) if label else ())), machine, id=f"{name} {label}".strip())
    for name in sorted(set(list_data("accelerators")))
    for label, machine in mapped_on(load_template(name).build()).items()
]
"""Every shipped machine and the options that name it; of several accelerators each part."""


@pytest.mark.parametrize(("name", "machine"), MACHINES)
def test_every_shipped_machine_runs_a_layer(data, name, machine):
    (layer,) = data("--accelerator", *name, "--layer", CONV)["layers"]
    again = evaluate_mapping(
        Layer("layer", "conv", m=8, c=4, p=6, q=6, r=3, s=3), machine, Mapping.from_data(layer["mapping"])
    )
    assert again.cycles == layer["cycles"] and again.bound_by == layer["bound_by"]
    assert again.total_energy_pj == pytest.approx(layer["total_energy_pj"], rel=1e-12)
    assert layer["utilization"] == pytest.approx(layer["macs"] / (machine.pes * layer["cycles"]))
    names = [memory.name for memory in machine.memories]
    for key in ("reads", "writes", "tile_words", "energy_pj", "instances", "memory_cycles"):
        assert list(layer[key]) == names
    assert sum(layer["energy_by_part_pj"].values()) == pytest.approx(layer["total_energy_pj"])


@pytest.mark.parametrize(("name", "machine"), MACHINES)
def test_the_text_is_ascii_in_80_columns(coevo, name, machine):
    out = coevo("map", "--accelerator", *name, "--layer", "m=64 c=64 p=56 q=56 r=3 s=3")[1]
    assert out.isascii() and "\x1b" not in out and max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("layer", [CONV, "g=12 p=9 q=9 r=3 s=3 stride=2", "g=4 c=2 p=8 q=8 kind=pool"])
def test_a_front_goes_from_the_least_energy_to_the_least_latency_past_the_best_product(data, layer):
    arguments = ("--accelerator", "shidiannao", "--layer", layer)
    front = data(*arguments, "--front")["layers"][0]["front"]
    energy, cycles = ([one[key] for one in front] for key in ("total_energy_pj", "cycles"))
    assert energy == sorted(set(energy)) and cycles == sorted(set(cycles), reverse=True)
    for objective, best in (("energy", energy[0]), ("latency", cycles[-1]), ("edp", min(map(mul, energy, cycles)))):
        (found,) = data(*arguments, "--objective", objective)["layers"]
        mine = {"energy": found["total_energy_pj"], "latency": found["cycles"]}
        assert mine.get(objective, found["total_energy_pj"] * found["cycles"]) == pytest.approx(best, rel=1e-12)


def test_a_front_shows_a_line_per_mapping(coevo, data):
    arguments = ("--accelerator", "eyeriss", "--layer", CONV, "--front")
    (layer,) = data(*arguments)["layers"]
    code, out, err = coevo("map", *arguments)
    assert (code, err) == (0, "")
    shown = out.partition("front by energy and latency\n")[2].splitlines()[1:]
    assert [line.split()[1] for line in shown] == [f"{one['cycles']:,.0f}" for one in layer["front"]]


def test_without_the_option_no_front_is_searched(coevo, data):
    arguments = ("--accelerator", "eyeriss", "--layer", CONV)
    assert "front" not in data(*arguments)["layers"][0] and "front" not in coevo("map", *arguments)[1]


def test_the_text_shows_the_nest_of_the_json(coevo, data):
    arguments = ("--accelerator", "eyeriss", "--layer", CONV)
    (layer,) = data(*arguments)["layers"]
    code, out, err = coevo("map", *arguments)
    assert (code, err) == (0, "")
    temporal = [loop for level in layer["mapping"] for loop in level.get("temporal", [])]
    assert [f"{dim}={bound}" for dim, bound in re.findall(r"for (\w) in \[0:(\d+)\)$", out, re.MULTILINE)] == temporal
    columns = [loop for level in layer["mapping"] for loop in level.get("x", [])[::-1]]
    assert [f"{d}={b}" for d, b in re.findall(r"for (\w) in \[0:(\d+)\) \(Spatial-X\)$", out, re.MULTILINE)] == columns
    assert f"bound by     {layer['bound_by']}" in out and f"{layer['cycles']:,.0f}" in out


def test_piped_output_has_no_colours(tmp_path):
    command = [sys.executable, "-m", "coevo", "map", "--accelerator", "eyeriss", "--layer", "m=4"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path, env={**os.environ, "LC_ALL": "C"})
    assert b"\x1b" not in done.stdout and b"<< Compute >>" in done.stdout


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        (CONV, Layer("x", "conv", m=8, c=4, p=6, q=6, r=3, s=3)),
        ("m=4,c=2, stride=2", Layer("x", "conv", m=4, c=2, stride=(2, 2))),
        (
            "g=32 p=7 q=7 r=3 s=5 stride=2x1 dilation=1x3",
            Layer("x", "conv", g=32, p=7, q=7, r=3, s=5, stride=(2, 1), dilation=(1, 3)),
        ),
        ("N=2 M=10 C=20 kind=linear name=fc", Layer("fc", "linear", n=2, m=10, c=20)),
        ("g=8 r=2 s=2 kind=pool bits=8", Layer("x", "pool", g=8, r=2, s=2, bits=(8, 8, 8))),
        ("m=2 bits=4/8/32", Layer("x", "conv", m=2, bits=(4, 8, 32))),
        ("m=2 bits=4/8/-", Layer("x", "conv", m=2, bits=(4, 8, None))),
    ],
)  # fmt: skip
def test_a_layer_reads_as_it_is_shown(text, layer):
    assert read_layer(text, "x") == layer
    assert read_layer(f"{shape(layer)} name={layer.name}", "x") == layer


def test_depthwise_groups_stride_and_batch_count(data):
    (layer,) = data("--accelerator", "shidiannao", "--layer", "n=2 g=16 p=7 q=7 r=3 s=3 stride=2 dilation=1")["layers"]
    assert layer["macs"] == 2 * 16 * 7 * 7 * 9
    assert layer["tile_words"]["dram"]["inputs"] == 2 * 16 * 15 * 15


def test_several_layers_and_a_total(coevo, data):
    arguments = ("--accelerator", "eyeriss", "--layer", CONV, "--layer", "m=3 name=x", "--layer", CONV)
    found = data(*arguments)
    assert [layer["name"] for layer in found["layers"]] == ["layer1", "x", "layer3"]
    assert found["cycles"] == sum(layer["cycles"] for layer in found["layers"])
    out = coevo("map", *arguments)[1]
    assert out.count("<< Compute >>") == 2 and "the same: layer3" in out and "all layers" in out


def test_a_network_gives_all_its_layers_or_those_named(data):
    arguments = ("--accelerator", "eyeriss", "--network", "digits_mbconv", "--input", "1x8x8")
    whole = data(*arguments)
    assert whole["layers"][0]["name"] == "stem" and len(whole["layers"]) > 5
    (one,) = data(*arguments, "--only", "head.conv")["layers"]
    assert one == next(x for x in whole["layers"] if x["name"] == "head.conv")


def test_a_network_of_the_users_own_is_mapped(data):
    Path("mine.py").write_text("from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 8, 3))\n")
    (layer,) = data("--accelerator", "eyeriss", "--network", "mine.py:net", "--input", "3x10x10")["layers"]
    assert layer["macs"] == 8 * 3 * 9 * 8 * 8


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with pytest.raises(SystemExit):
        main(["run", "hardware_only", "--set", "budget={designs: 8}", "--out", str(folder / "r"), "--quiet"])
    return next((folder / "r" / "front").iterdir())


def test_a_design_is_mapped_on_its_own_machine_or_another(data, design):
    own = data(design)
    assert (
        own["layers"] == data("--network", design, "--accelerator", "eyeriss")["layers"]
        or own["accelerator"] != "eyeriss"
    )
    assert data(design, "--accelerator", "tpu")["accelerator"] == "tpu"


def test_a_designs_own_mappings_can_be_scored(data, design):
    found = data(design, "--mapping", design)
    assert all(layer["mapping_given"] for layer in found["layers"])


def test_any_field_of_the_machine_can_be_set(data):
    arguments = ("--accelerator", "eyeriss", "--layer", CONV)
    found = data(*arguments, "--set", "pe_array.rows=5", "--set", "memories.glb.size_kib=54", "--set", "clock_mhz=100")
    assert found["multipliers"] == 5 * 14 and found["clock_mhz"] == 100
    assert found["choices"]["memories.glb.size_kib"] == 54


def test_the_objective_is_obeyed(data):
    arguments = ("--accelerator", "eyeriss", "--layer", "m=32 c=32 p=14 q=14 r=3 s=3")
    found = {name: data(*arguments, "--objective", name)["layers"][0] for name in ("edp", "latency", "energy")}
    for name, key in (("edp", "edp_j_cycles"), ("latency", "cycles"), ("energy", "total_energy_pj")):
        assert found[name][key] <= min(x[key] for x in found.values()) * (1 + 1e-12)


# -- a user's own mapping --------------------------------------------------------------------------------------


def test_a_users_mapping_is_scored_and_held_against_the_best(coevo, data):
    Path("mine.yaml").write_text(MINE)
    arguments = ("--accelerator", "eyeriss", "--layer", CONV)
    (mine,) = data(*arguments, "--mapping", "mine.yaml")["layers"]
    (best,) = data(*arguments)["layers"]
    # Each of 6 x 2 x 4 passes refills the array: 36 weights and 24 sums over 4 words a cycle, 24 inputs over 1.
    assert mine["mapping_given"] and mine["compute_cycles"] == 6 * 2 * 4 * (6 * 4 * 3 + 36 / 4 + 24 + 24 / 4)
    assert mine["best"]["mapping"] == best["mapping"] and mine["edp_j_cycles"] >= best["edp_j_cycles"]
    out = coevo("map", *arguments, "--mapping", "mine.yaml")[1]
    ratio = float(re.search(r"yours / best +([\d.]+)", out).group(1))
    assert "(your mapping)" in out and ratio == pytest.approx(mine["cycles"] / best["cycles"], rel=1e-3)


def test_the_forms_of_a_mapping_file_say_the_same(data):
    arguments = ("--accelerator", "eyeriss", "--layer", f"{CONV} name=c1")
    indented = "".join(f"  {line}\n" for line in MINE.splitlines())
    Path("list.yaml").write_text("---\n" + MINE)
    Path("one.yaml").write_text("mapping:\n" + MINE)
    Path("named.yaml").write_text("mappings:\n  c1:\n" + indented)
    first = data(*arguments, "--mapping", "list.yaml")
    Path("printed.yaml").write_text(json.dumps(first, indent=2))
    Path("bare.json").write_text(json.dumps(first["layers"][0]["mapping"]))
    for name in ("one.yaml", "named.yaml", "printed.yaml", "bare.json"):
        assert data(*arguments, "--mapping", name) == first


def test_layers_without_a_mapping_of_the_users_are_searched(data):
    Path("named.yaml").write_text("mappings:\n  c1:\n" + "".join(f"  {line}\n" for line in MINE.splitlines()))
    arguments = ("--accelerator", "eyeriss", "--layer", f"{CONV} name=c1", "--layer", "m=4 name=c2")
    found = data(*arguments, "--mapping", "named.yaml")["layers"]
    assert [layer["mapping_given"] for layer in found] == [True, False] and "best" not in found[1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("m=2]", "m=1]", ["mine.yaml", "layer layer", "m loops cover 4 of 8"]),
        ("m=4,", "m=40,", ["mine.yaml", "layer layer", "psum_spad", "bytes"]),
        ("[r=3]", "[r=30]", ["mine.yaml", "30", "glb"]),
        ("[c=4]", "[k=4]", ["mine.yaml:4", "mapping.1", "k=4"]),
        ("[c=4]", "[c=0]", ["mine.yaml:4", "c=0"]),
        ("- memory: glb", "- memory: gbl", ["mine.yaml", "dram, glb, filter_spad"]),
        ("- memory: filter_spad\n", "", ["mine.yaml", "dram, glb, filter_spad"]),
        ("  y: [r=3]", "  z: [r=3]", ["mine.yaml:4", "memory, temporal, x, y"]),
        ("- memory: filter_spad", "- filter_spad", ["mine.yaml:7", "filter_spad"]),
        ("[c=4]", "[c=4", ["mine.yaml:", "not YAML"]),
        (MINE, "", ["mine.yaml", "must hold a mapping"]),
        (MINE, "mapings: []", ["mine.yaml", "holds no mapping"]),
        (MINE, "mapping: []", ["mine.yaml:1", "must be a list of levels"]),
        (MINE, "mappings: {layr: [{memory: dram}]}", ["mine.yaml:1", "did you mean 'layer'?"]),
        (MINE, "layers: [{name: layer}]", ["mine.yaml:1", "needs `name` and `mapping`"]),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_a_mistake_in_a_mapping_is_one_line(complaint, old, new, said):
    assert old in MINE
    Path("mine.yaml").write_text(MINE.replace(old, new, 1))
    line = complaint("--accelerator", "eyeriss", "--layer", CONV, "--mapping", "mine.yaml")
    for text in said:
        assert text in line


def test_one_mapping_does_not_serve_two_layers(complaint):
    Path("mine.yaml").write_text(MINE)
    arguments = ("--accelerator", "eyeriss", "--layer", CONV, "--layer", "m=4", "--mapping", "mine.yaml")
    assert "one mapping for 2 layers" in complaint(*arguments)


# -- mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("k=64", ["k=64", "here it is 'm'", "known: bits, c,"]),
        ("strid=2", ["did you mean 'stride'?"]),
        ("m=0", ["m=0", "at least 1"]),
        ("m=-3", ["m=-3", "at least 1"]),
        ("m=2.5", ["m=2.5", "whole number"]),
        ("m=²", ["whole number"]),
        ("m=4 m=5", ["m stands twice"]),
        ("m", ["must read like", "'m'"]),
        ("m=", ["must read like"]),
        ("", ["has no dims"]),
        ("stride=2", ["has no dims"]),
        ("m=4 stride=0", ["stride=0", "at least 1"]),
        ("m=4 stride=1x2x3", ["height x width"]),
        ("m=4 bits=8/8", ["weights/inputs/outputs"]),
        ("m=4 bits=99", ["64 bits"]),
        ("m=4 kind=pol", ["did you mean 'pool'?"]),
        ("m=99999999 c=99999999 p=99999999", ["2^53"]),
        ("m=" + "9" * 30, ["whole number"]),
    ],
)
def test_a_mistake_in_a_layer_names_it(text, said):
    with pytest.raises(SpecError) as error:
        read_layer(text, "layer")
    for part in ("--layer", *said):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["one of a design file, --layer and --network"]),
        (["--layer", "m=4"], ["--accelerator", "known: device, eyeriss"]),
        (["--layer", "m=4", "--network", "digits_mbconv", "--accelerator", "eyeriss"], ["one of a design file"]),
        (["--layer", "m=4", "--accelerator", "eyeris"], ["did you mean 'eyeriss'?"]),
        (["--layer", "m=4 z=1", "--accelerator", "eyeriss"], ["--layer z=1", "known:"]),
        (["--layer", "m=4 name=a", "--layer", "m=5 name=a", "--accelerator", "eyeriss"], ["two layers are named 'a'"]),
        (["--layer", "m=4", "--accelerator", "eyeriss", "--only", "lyer"], ["--only", "did you mean 'layer'?"]),
        (["--layer", "m=4", "--accelerator", "eyeriss", "--gene", "a=1"], ["--gene", "without --network"]),
        (["--layer", "m=4", "--accelerator", "eyeriss", "--ignore-unknown", "x"], ["--ignore-unknown", "--network"]),
        (["--layer", "m=4", "--accelerator", "eyeriss", "--set", "x"], ["--set", "PATH=VALUE"]),
        (
            ["--layer", "m=4", "--accelerator", "eyeriss", "--set", "memories.glb.size_kb=54"],
            ["--set memories.glb.size_kb=54", "did you mean 'memories.glb.size_kib'?"],
        ),
        (
            ["--layer", "m=4", "--accelerator", "eyeriss", "--set", "memories.glb.size_kib=-1"],
            ["--set memories.glb.size_kib=-1", "-1"],
        ),
        (["--layer", "m=4", "--accelerator", "eyeriss", "--set", "pe_array.rows=many"], ["--set", "'many'"]),
        (["--layer", "m=4", "--accelerator", "eyeriss", "--mapping", "absent.yaml"], ["absent.yaml"]),
        (["--network", "nothing", "--accelerator", "eyeriss"], ["nothing"]),
        (["absent.yaml"], ["absent.yaml"]),
        (["design.yaml", "--set", "pe_array.rows=8"], ["--set", "without --accelerator"]),
    ],
    ids=" ".join,
)
def test_a_mistake_on_the_command_line_is_one_line(complaint, arguments, said):
    line = complaint(*arguments)
    for text in said:
        assert text in line


def test_a_layer_without_any_mapping_says_which_memory_how_much_it_needs_and_has(complaint):
    line = complaint(
        "--accelerator", "shidiannao", "--layer", "m=4 bits=16/16/64 name=wide", "--set", "word_bits.outputs=8"
    )
    assert "layer wide" in line and "valid mapping" in line
    assert re.search(r"needs \d+ bytes .*has \d", line), line


def test_a_machine_of_several_parts_is_mapped_part_by_part(complaint):
    several = ("--accelerator", "nvdla_shidiannao", "--layer", CONV)
    assert "--part: nvdla_shidiannao has several parts; choose one of dense, depthwise" in complaint(*several)
    assert "--part: there is no part 'dens' (did you mean 'dense'?" in complaint(*several, "--part", "dens")
    assert "--part: tpu has no parts" in complaint("--accelerator", "tpu", "--layer", CONV, "--part", "dense")
