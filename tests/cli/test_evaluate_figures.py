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
