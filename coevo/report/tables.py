"""The tables: `front.csv` and `designs.csv`. Equal runs give equal bytes, so no clock reading stands in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from coevo.design import Evaluation, Results

TEST_ERROR = "test_error_pct"
"""Column of the error on data that the search never saw; known for the front alone."""


def front_csv(results: Results) -> str:
    """Returns ``front.csv``: a row per design of the front, sorted by the objectives, then by id."""
    designs = sorted((d.evaluation for d in results.front.designs), key=lambda e: (e.values, e.id))
    test = known_test_errors(results)
    rows = [_row(evaluation, test) for evaluation in designs]
    return _csv(["id", *results.genes, *metric_columns(results), *([TEST_ERROR] if test else [])], rows)


def designs_csv(results: Results) -> str:
    """Returns ``designs.csv``: a row per evaluation, sorted by the step that proposed it, then by id."""
    test = known_test_errors(results)
    front = {d.evaluation.id for d in results.front.designs}
    rows = [
        _row(evaluation, test)
        | {"step": evaluation.step, "on_front": int(evaluation.id in front)}
        | {"violation": evaluation.violation, "reason": evaluation.reason}
        for evaluation in sorted(results.evaluations, key=lambda e: (e.step, e.id))
    ]
    metrics = [*metric_columns(results), *([TEST_ERROR] if test else [])]
    return _csv(["id", "step", "on_front", *results.genes, *metrics, "violation", "reason"], rows)


def metric_columns(results: Results) -> list[str]:
    """Returns the columns of all metrics: the objectives first, then the others in their order."""
    objectives = [quantity.column for quantity in results.objectives]
    return [*objectives, *(column for column in results.quantities if column not in objectives)]


def known_test_errors(results: Results) -> dict[str, float]:
    """Returns the test error [%] by design id, of the front's designs that have one."""
    return {
        design.evaluation.id: 100 * design.accuracy.test_error
        for design in results.front.designs
        if design.accuracy is not None and design.accuracy.test_error is not None
    }


def _row(evaluation: Evaluation, test: Mapping[str, float]) -> dict[str, Any]:
    row = {"id": evaluation.id, **evaluation.genes, **evaluation.metrics}
    return row | ({TEST_ERROR: test[evaluation.id]} if evaluation.id in test else {})


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    """Empty for what is not there; a float so that it reads back as the same float, numpy's or not."""
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)
