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


FREE = """\
schema: 1
name: free
technology_nm: 28
clock_mhz: 500
mac: {energy_pj: 0, leakage_mw: 0, area_mm2: 0.001}
memories:
  - {name: dram, kind: dram, holds: [weights, inputs, outputs], words_per_cycle: 4,
     read_energy_pj: 0, write_energy_pj: 0, leakage_mw: 0}
  - {name: buffer, kind: sram, holds: [weights, inputs, outputs], size_kib: 64, words_per_cycle: 16,
     read_energy_pj: 0, write_energy_pj: 0, leakage_mw: 0, area_mm2: 0.1, fanout: {x: 4, y: 4}}
dataflow: free
"""


def test_on_a_machine_without_energy_its_parts_are_shares_of_nothing(coevo):
    Path("free.yaml").write_text(FREE)
    code, out, err = coevo(*COMMAND[:-1], "free.yaml", "--objective", "latency")
    assert (code, err) == (0, "")
    assert "dram         0 mJ, 0.0%" in out
