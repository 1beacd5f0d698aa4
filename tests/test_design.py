"""Names of columns, identities of designs, and the rows of a front."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coevo.accelerator.machine import DATAFLOWS, Accelerator, Mac
from coevo.design import Accuracy, Cost, Design, Evaluation, Front, FrontDesign, Network, Quantity, digest
from coevo.metrics import METRICS
from coevo.workload import Workload

MACHINE = Accelerator(
    name="toy",
    technology_nm=45,
    clock_mhz=100,
    bits=(8, 8, 8),
    memories=(),
    mac=Mac(energy_pj=1.0, area_mm2=0.01),
    dataflow=DATAFLOWS["free"],
    choices=(("rows", 4), ("columns", 8)),
)


COLUMNS = {
    "%": "x_pct", "ms": "x_ms", "mJ": "x_mj", "mm2": "x_mm2", "mJ·ms": "x_mj_ms", "mJ·ms·mm2": "x_mj_ms_mm2",
    "1/s": "x_per_s", "KiB": "x_kib", "": "x",
}  # fmt: skip


@pytest.mark.parametrize("unit", COLUMNS)
def test_the_unit_stands_in_the_columns_name(unit):
    assert Quantity("x", unit).column == COLUMNS[unit]


def test_every_unit_of_coevos_metrics_is_covered_and_every_column_can_be_a_key():
    assert {metric.quantity.unit for metric in METRICS.values()} == set(COLUMNS)
    columns = [metric.quantity.column for metric in METRICS.values()]
    assert all(column.isidentifier() and column.islower() for column in columns)
    assert len(set(columns)) == len(columns)


def test_a_label_shows_title_and_unit_where_there_are_any():
    assert Quantity("latency", "ms", title="Latency").label == "Latency [ms]"
    assert Quantity("macs").label == "macs"


def design(choices: dict[str, object], machine: Accelerator = MACHINE, genome: tuple[int, ...] = (0,)) -> Design:
    return Design(genome, Network("mbconv", choices), machine)


@given(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4) | st.booleans()), st.randoms())
@settings(max_examples=50, deadline=None)
def test_keys_and_ids_do_not_depend_on_the_order_of_choices(choices, shuffled):
    items = list(choices.items())
    shuffled.shuffle(items)
    assert Network("mbconv", dict(items)).key == Network("mbconv", choices).key
    assert design(dict(items)).id == design(choices).id


def test_keys_and_ids_are_the_same_in_every_process():
    assert digest({"b": [1, 2.5, None], "a": "é"}) == digest({"a": "é", "b": [1, 2.5, None]})
    assert digest([]) == "5feb596270186253f9f617f0"  # printf "[]" | b2sum -l 96
    assert len(design({}).id) == 10


def test_whatever_makes_another_design_makes_another_id():
    machines = [
        MACHINE,
        Accelerator(**(vars(MACHINE) | {"name": "other"})),
        Accelerator(**(vars(MACHINE) | {"choices": (("rows", 5), ("columns", 8))})),
    ]
    designs = [design({"depth": depth}, machine) for depth in (1, 2, "1") for machine in machines]
    designs.append(Design((0,), Network("cell", {"depth": 1}), MACHINE))
    assert len({one.id for one in designs}) == 10


def test_the_genome_is_no_part_of_the_id():
    assert design({"depth": 1}, genome=(0,)).id == design({"depth": 1}, genome=(1, 2)).id


def front_design(id_: str, genes: dict[str, object], accuracy: Accuracy | None) -> FrontDesign:
    found = Evaluation(id_, (0,), genes, {"latency_ms": 2.0, "error_pct": 10.0}, (2.0,), 0.0, "", 0)
    cost = Cost(("dram",), 1.0, 1.0, 1.0, 1.0)
    return FrontDesign(found, design(genes), Workload("w", ()), (cost,), accuracy)


def test_a_row_holds_id_genes_metrics_and_the_test_error_in_percent_where_there_is_one():
    front = Front(
        (Quantity("latency", "ms"),),
        (
            front_design("a", {"depth": 1}, Accuracy(error=0.1, test_error=0.125)),
            front_design("b", {"depth": 2}, Accuracy(error=0.1)),
            front_design("c", {"width": 3}, None),
            front_design("d", {"width": 3}, Accuracy(error=0.1, test_error=0.0)),
        ),
    )
    figures = {"latency_ms": 2.0, "error_pct": 10.0}
    assert front.rows() == [
        {"id": "a", "depth": 1, **figures, "test_error_pct": 12.5},
        {"id": "b", "depth": 2, **figures},
        {"id": "c", "width": 3, **figures},
        {"id": "d", "width": 3, **figures, "test_error_pct": 0.0},
    ]
