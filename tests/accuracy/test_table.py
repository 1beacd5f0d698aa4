"""NAS-Bench-201's table: the right figure for every cell, and one line for every mistake."""

from __future__ import annotations

import csv
import gzip
import os
from itertools import product
from pathlib import Path

import pytest

from coevo.accuracy.table import FILE, TabulatedAccuracy, plugin
from coevo.design import Accuracy, Network
from coevo.errors import DataError, SpecError
from coevo.networks.cell import OPERATIONS, Cell, CellSettings, from_digits, isomorphism_class, to_string
from coevo.networks.mbconv import MBConv, MBConvSettings
from coevo.protocols import Task

CIFAR = Task(3, 32, 10)
HEAD = "arch,c10_valid200,c10_test200,c10_valid12,c100_test200\n"
needs_table = pytest.mark.skipif(
    not (Path(os.environ.get("COEVO_DATA", "nowhere")) / FILE).is_file(), reason=f"COEVO_DATA holds no {FILE}"
)


def row(digits: str, *figures: object) -> str:
    return ",".join(map(str, (to_string(from_digits(digits)), *figures))) + "\n"


@pytest.fixture
def table(tmp_path: Path) -> str:
    """One conv, the same conv behind a skip, an idle cell; the first two compute the same."""
    text = HEAD + row("300000", 50, 60, 30, 20) + row("000300", 80, 85, 40, 25) + row("000010", 85, 86, 41, 26)
    file = tmp_path / "mine.csv"
    file.write_text(text + row("111111", 82, 84, 35, 24))
    return str(file)


def score(table: str, digits: list[str], **settings: object) -> list[Accuracy]:
    model = plugin(plugin.Settings(file=table, **settings))
    family = Cell(CellSettings(), model.task)
    networks = [Network("nasbench201", from_digits(d)) for d in digits]
    scores = dict(model.score(family, networks, seed=0))
    return [scores[i] for i in range(len(networks))]


def test_a_search_sees_the_validation_error_and_a_report_the_test_error(table: str) -> None:
    (accuracy,) = score(table, ["000300"])
    assert (accuracy.error, accuracy.test_error) == (pytest.approx(0.20), pytest.approx(0.15))
    assert accuracy.fidelity == "table, 200 epochs"


def test_where_there_is_no_validation_figure_the_test_error_stands_for_it(table: str) -> None:
    (accuracy,) = score(table, ["000300"], data="cifar100")
    assert accuracy.error == accuracy.test_error == pytest.approx(0.75)


def test_epochs_and_part_choose_the_column(table: str) -> None:
    assert score(table, ["111111"], epochs=12)[0].error == pytest.approx(0.65)
    assert score(table, ["111111"], epochs=12)[0].test_error is None
    assert score(table, ["111111"], part="test")[0].error == pytest.approx(0.16)


def test_a_gzipped_table_reads_alike(table: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(Path(table).read_bytes()))
    assert score(str(tmp_path / "mine.csv.gz"), ["000300"]) == score(table, ["000300"])


def test_isomorphic_cells_are_distinct_unless_merged(tmp_path: Path) -> None:
    # node 3 = conv(input), directly and by way of node 1, which is the input
    direct, by_way = "000300", "100030"
    assert isomorphism_class(from_digits(direct)) == isomorphism_class(from_digits(by_way))
    file = tmp_path / "two.csv"
    file.write_text(HEAD + row(direct, 80, 85, 0, 0) + row(by_way, 70, 75, 0, 0))
    apart = [accuracy.error for accuracy in score(str(file), [direct, by_way])]
    merged = [accuracy.error for accuracy in score(str(file), [direct, by_way], merge_isomorphic=True)]
    assert apart == [pytest.approx(0.2), pytest.approx(0.3)]
    assert merged == [pytest.approx(0.2), pytest.approx(0.2)]  # the first one's in the file


def test_there_are_6466_classes_of_cells() -> None:
    cells = ("".join(map(str, digits)) for digits in product(range(len(OPERATIONS)), repeat=6))
    assert len({isomorphism_class(from_digits(cell)) for cell in cells}) == 6466


@needs_table
def test_classes_are_those_of_the_published_table() -> None:
    with gzip.open(Path(os.environ["COEVO_DATA"]) / FILE, "rt") as text:
        rows = list(csv.DictReader(text))
    first: dict[str, str] = {}
    for cell in rows:
        assert first.setdefault(isomorphism_class(from_digits(cell["ops"])), cell["idx"]) == cell["rep"]


@needs_table
def test_the_best_cells_have_their_published_accuracies() -> None:
    best = {"cifar10": "94.373", "cifar100": "73.513", "imagenet16-120": "47.311"}
    for data, accuracy in best.items():
        model = plugin(plugin.Settings(data=data, part="test"))
        assert min(a.error for a in model._accuracies.values()) == pytest.approx(1 - float(accuracy) / 100, abs=1e-5)
        assert len(model._accuracies) == 15625


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cell,x\n1,2\n", "has no column 'arch'"),
        (HEAD.replace("c10_valid200", "other"), "no column 'c10_valid200'"),
        (HEAD + "nonsense,1,2,3,4\n", "not a cell"),
        (HEAD + row("300000", "high", 1, 1, 1), "could not convert"),
        (HEAD + row("300000", 101, 1, 1, 1), "from 0 to 100 %"),
        (HEAD + row("300000", "nan", 1, 1, 1), "from 0 to 100 %"),
        (HEAD + to_string(from_digits("300000")) + "\n", "is no table of cells"),
        ("\x00\x01", "has no column"),
    ],
)
def test_a_file_that_is_no_table_is_one_line_that_names_it(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(DataError) as error:
        score(str(file), ["300000"], part="validation")
    assert problem in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_cell_that_the_table_lacks_is_named(table: str) -> None:
    with pytest.raises(DataError, match=r"nor_conv_1x1~0"):
        score(table, ["222222"])


def test_without_a_file_the_text_says_where_to_put_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COEVO_DATA", raising=False)
    with pytest.raises(DataError, match=r"accuracy\.file.*COEVO_DATA"):
        _ = plugin(plugin.Settings()).task


def test_networks_that_the_table_is_not_of_are_refused(table: str) -> None:
    model = TabulatedAccuracy(plugin.Settings(file=table))
    stage = {"depth": 1, "width": 8}
    with pytest.raises(SpecError, match="family cell"):
        model.check(MBConv(MBConvSettings(stem={"width": 8}, stages=[stage]), CIFAR))
    with pytest.raises(SpecError, match="16 channels and 5 cells"):
        model.check(Cell(CellSettings(channels=8), CIFAR))
