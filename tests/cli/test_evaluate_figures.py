"""``coevo evaluate --figures DIR``: what it draws, and that the rest of what it prints stays as it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from coevo.cli import main

COMMAND = ("evaluate", "--network", "digits_mbconv", "--input", "1x8x8", "--accelerator", "eyeriss")
FILES = {f"{name}.{kind}" for name in ("energy", "utilization", "roofline") for kind in ("png", "svg")} | {"layers.csv"}


@pytest.fixture
def coevo(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


def test_it_draws_what_it_prints(coevo):
    code, out, err = coevo(*COMMAND, "--figures", "figures/new")
    assert (code, err) == (0, "")
    assert {path.name for path in Path("figures/new").iterdir()} == FILES
    assert out.splitlines()[-1].startswith("figures: figures/new/energy.png")
    assert "what bounds the layers:" in out and "roofline: 168 operations/cycle" in out
    figures = json.loads(coevo(*COMMAND, "--json")[1])
    rows = list(csv.DictReader(Path("figures/new/layers.csv").read_text().splitlines()))
    assert [row["layer"] for row in rows] == [layer["name"] for layer in figures["layers"]]
    assert sum(float(row["energy_pj"]) for row in rows) == pytest.approx(1e9 * figures["energy_mj"])
    assert sum(float(row["energy_dram_pj"]) for row in rows) == pytest.approx(
        1e9 * figures["energy_by_part_mj"]["dram"]
    )


def test_with_json_the_figures_stand_in_it(coevo):
    code, out, err = coevo(*COMMAND, "--figures", "f", "--json")
    assert (code, err) == (0, "")
    assert {Path(file).name for file in json.loads(out)["figures"]} == FILES


def test_a_folder_that_is_a_file_is_one_line(coevo):
    Path("f").write_text("")
    code, _, err = coevo(*COMMAND, "--figures", "f")
    assert code == 2 and err == "error: f: File exists\n"


SYSTEM = ("evaluate", "--network", "digits_mbconv", "--input", "1x8x8", "--accelerator", "nvdla_shidiannao")


def test_layers_on_several_parts_say_which_and_the_figures_are_drawn(coevo):
    code, out, err = coevo(*SYSTEM, "--assign", "interval", "--figures", "f")
    assert (code, err) == (0, "")
    assert {path.name for path in Path("f").iterdir()} == FILES
    assert "  interval " in out and "  dense.conv_buffer " in out and "  depthwise.sb " in out
    figures = json.loads(coevo(*SYSTEM, "--assign", "interval", "--json")[1])
    assert {layer["part"] for layer in figures["layers"]} == {"dense", "depthwise"}
    assert figures["interval_ms"] < figures["latency_ms"]
    assert figures["latency_ms"] == figures["layers"][-1]["ends_cycles"] / 1e6
    assert " begins " in out
    assert sum(figures["energy_by_part_mj"].values()) == pytest.approx(figures["energy_mj"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--keep-on-chip",),
            "--keep-on-chip: nvdla_shidiannao has several parts, between which activations pass DRAM",
        ),
        (("--set", "dense.pe_array.rows=4"), "--set dense.pe_array.rows: no such name (did you mean "),
        (("--set", "depthwise.pe_array.rows=5"), "--set depthwise.pe_array.rows: 5 is not one of 4, 8, 12, 16"),
        (("--assign", "area"), "'area' is not one of 'edp', 'latency', 'energy', 'interval'"),
    ],
)
def test_what_a_machine_of_several_parts_cannot_be_asked_is_one_line(coevo, options, said):
    code, _, err = coevo(*SYSTEM, *options)
    assert code == 2 and said in err and "Traceback" not in err


def test_parts_are_chosen_only_where_there_are_several(coevo):
    code, _, err = coevo(*COMMAND, "--assign", "interval")
    assert code == 2 and err == "error: --assign: changes nothing: eyeriss has no parts to choose from\n"
