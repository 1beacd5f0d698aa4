from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from coevo.cli import _run
from coevo.correlate import load_correlation, write_results
from coevo.errors import SpecError
from coevo.networks.cell import OPERATIONS, from_digits, to_string

FAKES = Path(__file__).parents[1] / "evaluate" / "codesign_fakes.py"

FILE = """
schema: 1
name: mine
space: space.yaml
networks: 12
reference: {{name: "{fakes}:AccuracyModel"}}
models:
  same: {{name: "{fakes}:AccuracyModel", journal: "{journal}"}}
  other: {{name: "{fakes}:AccuracyModel", fails: 4}}
combined:
  both: [same, other]
"""

SPACE = """
schema: 1
name: tiny
description: One or two convolutions.
family: {fakes}:Family
widths: [4, 8, 16, 32]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "space.yaml").write_text(SPACE.format(fakes=FAKES))
    file = tmp_path / "mine.yaml"
    file.write_text(FILE.format(fakes=FAKES, journal=tmp_path / "journal"))
    return file


def test_a_model_agrees_fully_with_itself_and_failures_are_counted(file: Path, tmp_path: Path) -> None:
    results = load_correlation(file).run(tmp_path / "out")
    same, other = results.rungs["same"], results.rungs["other"]
    assert same.agreement.spearman == pytest.approx(1)
    assert 0 < other.failed == np.isinf(other.errors).sum() < 12
    assert other.agreement.spearman < results.rungs["both"].agreement.spearman < 1
    assert results.rungs["both"].seconds == pytest.approx(same.seconds + other.seconds)


def test_check_says_what_a_correlation_holds(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["check", str(file)]) == 0
    said = capsys.readouterr().out
    assert "networks\n  reference  {'name': " in said and "\n  models\n" in said


def test_models_are_combined_by_weight(file: Path, tmp_path: Path) -> None:
    weights = "combined={one: {same: 1.0, other: 1.0e-6}, list: [same, other], equal: {same: 2.0, other: 2.0}}"
    rungs = load_correlation(file, [weights]).run(tmp_path / "out").rungs
    assert rungs["one"].agreement.spearman == pytest.approx(1)
    assert rungs["list"].agreement.spearman == rungs["equal"].agreement.spearman < 1
    with pytest.raises(SpecError, match="greater than 0"):
        load_correlation(file, ["combined={one: {same: 1.0, other: 0}}"])


def test_networks_are_distinct_and_the_draw_depends_on_the_seed_alone(file: Path, tmp_path: Path) -> None:
    first = load_correlation(file).run(tmp_path / "a")
    again = load_correlation(file).run(tmp_path / "b", jobs=2)
    other = load_correlation(file, ["seed=1"]).run(tmp_path / "c")
    keys = [[network.key for network in results.networks] for results in (first, again, other)]
    assert keys[0] == keys[1] != keys[2]
    assert len(set(keys[0])) == 12


def test_what_is_known_is_not_computed_again(file: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    load_correlation(file).run(tmp_path / "out")
    before = journal.read_text()
    load_correlation(file).run(tmp_path / "out")
    assert journal.read_text() == before
    load_correlation(file, ["networks=15"]).run(tmp_path / "out")
    assert len(journal.read_text().split()) == 15


def test_tables_hold_every_network_and_model_and_the_figure_is_drawn(file: Path, tmp_path: Path) -> None:
    results = load_correlation(file).run(tmp_path / "out")
    figure = write_results(results, tmp_path / "out")
    assert figure.read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "out" / "correlation.svg").read_text().lstrip().startswith("<?xml")
    with (tmp_path / "out" / "networks.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == 12
    assert float(rows[3]["same"]) == pytest.approx(results.rungs["same"].errors[3], rel=1e-5)
    with (tmp_path / "out" / "correlation.csv").open(newline="") as text:
        assert {row["model"] for row in csv.DictReader(text)} == {"same", "other", "both"}


def test_cells_that_no_input_reaches_are_left_out(tmp_path: Path) -> None:
    digits = [f"{i:06o}" for i in range(8**6) if set(f"{i:06o}") <= set("01")]  # skips and absent edges alone
    assert len(digits) == 64
    table = tmp_path / "table.csv"
    rows = [f"{to_string(from_digits(d))},{50 + i % 7}\n" for i, d in enumerate(digits)]
    table.write_text("arch,c10_test200\n" + "".join(rows))
    (tmp_path / "mine.yaml").write_text(
        f"schema: 1\nname: mine\nspace: nasbench201\nnetworks: 200\nreference: {{name: table, file: {table}}}\n"
        f"models: {{same: {{name: table, file: {table}}}}}\n"
    )
    correlation = load_correlation(tmp_path / "mine.yaml")
    drawn = correlation._draw(300)
    assert all(correlation.family.graph(network.choices).connected for network in drawn)  # type: ignore[attr-defined]
    assert any("none" in network.choices.values() for network in drawn)


def test_the_341_cells_that_no_input_reaches_are_known() -> None:
    from itertools import product

    from coevo.networks.cell import Cell, CellSettings
    from coevo.protocols import Task

    family = Cell(CellSettings(channels=1, cells=1), Task(3, 32, 10))
    cells = ("".join(map(str, digits)) for digits in product(range(len(OPERATIONS)), repeat=6))
    assert sum(not family.graph(from_digits(cell)).connected for cell in cells) == 341


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("networks: 12", "networks: 400"), "networks: the space space.yaml has no 400 different networks"),
        (("networks: 12", "networks: 2"), "mine.yaml:5: networks"),
        (("[same, other]", "[same, none]"), "'none', which is not among the models"),
        (("name: mine", "nmae: mine"), "unknown key"),
        (("space: space.yaml", "space: nowhere"), "no space named 'nowhere'"),
        (("schema: 1", "schema: 2"), "mine.yaml:2: schema"),
        (("same: {", "same: {fail: 1, "), "models.same"),
        (("fails: 4", "fails: 4, extra: 1"), "models.other"),
        ((f'reference: {{name: "{FAKES}:AccuracyModel"}}', "reference: {name: trian}"), "did you mean 'train'"),
        ((f'reference: {{name: "{FAKES}:AccuracyModel"}}', "reference: {epochs: 1}"), "needs a name"),
        ((f'reference: {{name: "{FAKES}:AccuracyModel"}}', "reference: {name: train, epochs: 0}"), "epochs"),
        ((f'reference: {{name: "{FAKES}:AccuracyModel"}}', "reference: {name: train, data: cifar10}"), "cifar10"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, str],
    problem: str,
) -> None:
    monkeypatch.delenv("COEVO_DATA", raising=False)
    text = file.read_text()
    assert change[0] in text
    file.write_text(text.replace(*change))
    assert _run(["correlate", str(file), "--out", str(tmp_path / "out"), "--quiet", "--jobs", "1"]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1


def test_a_reference_that_fails_on_a_network_is_refused(file: Path, tmp_path: Path) -> None:
    text = file.read_text()
    file.write_text(
        text.replace(
            f'reference: {{name: "{FAKES}:AccuracyModel"', f'reference: {{name: "{FAKES}:AccuracyModel", fails: 3'
        )
    )
    with pytest.raises(SpecError, match="the reference has no figure of"):
        load_correlation(file).run(tmp_path / "out")
