from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace

from coevo.design import Front, Results
from coevo.report.tables import designs_csv, front_csv


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_front_csv_has_every_gene_and_every_metric_with_its_unit(results: Results) -> None:
    header = front_csv(results).splitlines()[0].split(",")
    assert header == [
        "id",
        *results.genes,
        *("error_pct", "latency_ms", "energy_mj", "area_mm2", "throughput_per_s", "macs", "parameters"),
        "test_error_pct",
    ]


def test_inactive_genes_are_empty(results: Results) -> None:
    for row in read(front_csv(results)):
        assert (row["eyeriss.pe_array.rows"] == "") == (row["template"] == "shidiannao")


def test_numbers_read_back_exactly(results: Results) -> None:
    rows = {row["id"]: row for row in read(front_csv(results))}
    for design in results.front.designs:
        row = rows[design.evaluation.id]
        assert {column: float(row[column]) for column in design.evaluation.metrics} == design.evaluation.metrics
        assert design.accuracy is not None
        assert float(row["test_error_pct"]) == 100 * (design.accuracy.test_error or 0)


def test_the_order_of_the_run_does_not_show(results: Results) -> None:
    turned = replace(
        results,
        evaluations=results.evaluations[::-1],
        front=Front(results.objectives, results.front.designs[::-1]),
    )
    assert front_csv(turned) == front_csv(results)
    assert designs_csv(turned) == designs_csv(results)


def test_no_clock_reading_stands_in_the_tables(results: Results) -> None:
    slower = tuple(replace(d, accuracy=replace(d.accuracy, seconds=99.0)) for d in results.front.designs if d.accuracy)
    assert front_csv(replace(results, front=Front(results.objectives, slower))) == front_csv(results)
    assert "second" not in designs_csv(results)


def test_designs_csv_has_every_design_and_says_what_became_of_it(results: Results) -> None:
    rows = read(designs_csv(results))
    assert len(rows) == len(results.evaluations)
    assert sum(row["on_front"] == "1" for row in rows) == len(results.front.designs)
    refused = [row for row in rows if float(row["violation"]) > 0]
    assert all(row["reason"] and row["on_front"] == "0" for row in refused)
    assert any(row["error_pct"] == "" for row in refused)


def test_without_an_accuracy_there_is_no_test_error(make_results: Callable[..., Results]) -> None:
    assert "test_error" not in front_csv(make_results(("latency", "energy"), designs=20))
