"""The tables: `front.csv` and `designs.csv`. Equal runs give equal bytes, so no clock reading stands in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from coevo.design import EXTRAS, Evaluation, Quantity, Results

FIDELITY = "fidelity"
"""Column that says how the accuracy of a design was measured."""

ORIGIN = "origin"
"""Column that says which design of which run a warm start took over as this one."""


def front_csv(results: Results) -> str:
    """Returns ``front.csv``: a row per design of the front, sorted by the objectives, then by id."""
    designs = sorted(results.front.designs, key=lambda d: (d.evaluation.values, d.evaluation.id))
    rows = [_row(results, design.evaluation, design.extras) for design in designs]
    return _csv(["id", *results.genes, *metric_columns(results), *_more(results)], rows)


def designs_csv(results: Results) -> str:
    """Returns ``designs.csv``: a row per evaluation, sorted by the step that proposed it, then by id."""
    front = {d.evaluation.id: d.extras for d in results.front.designs}
    rows = [
        _row(results, evaluation, front.get(evaluation.id, {}))
        | {"step": evaluation.step, "on_front": int(evaluation.id in front)}
        | {"violation": evaluation.violation, "reason": evaluation.reason}
        for evaluation in sorted(results.evaluations, key=lambda e: (e.step, e.id))
    ]
    metrics = [*metric_columns(results), *_more(results)]
    return _csv(["id", "step", "on_front", *results.genes, *metrics, "violation", "reason"], rows)


def metric_columns(results: Results) -> list[str]:
    """Returns the columns of all metrics: the objectives first, then the others in their order."""
    objectives = [quantity.column for quantity in results.objectives]
    return [*objectives, *(column for column in results.quantities if column not in objectives)]


def known_extras(results: Results) -> list[Quantity]:
    """Returns those of `coevo.design.EXTRAS` that any design of the front has."""
    return [quantity for quantity in EXTRAS if any(quantity.column in d.extras for d in results.front.designs)]


def _more(results: Results) -> list[str]:
    """Columns beyond genes and metrics."""
    measured = any(evaluation.fidelity for evaluation in results.evaluations)
    return [
        *(quantity.column for quantity in known_extras(results)),
        *([FIDELITY] if measured else []),
        *([ORIGIN] if results.origins else []),
    ]


def _row(results: Results, evaluation: Evaluation, extras: Mapping[str, float]) -> dict[str, Any]:
    row = {"id": evaluation.id, **evaluation.genes, **evaluation.metrics, **extras}
    row |= {ORIGIN: results.origins[evaluation.id]} if evaluation.id in results.origins else {}
    return row | ({FIDELITY: evaluation.fidelity} if evaluation.fidelity else {})


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    return csv_text(columns, ([row.get(column) for column in columns] for row in rows))


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns a table as CSV, a line per row, empty cells for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def aligned(rows: Sequence[Sequence[str]], left: int = 1, bar: bool = False) -> str:
    """Returns rows of equal length as lines, the first ``left`` columns aligned left, so the last if it is a bar."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    to_left = [i < left or (bar and i == len(widths) - 1) for i in range(len(widths))]
    lines = [
        "  ".join(
            cell.ljust(width) if flush else cell.rjust(width)
            for cell, width, flush in zip(row, widths, to_left, strict=True)
        )
        for row in rows
    ]
    return "\n".join("  " + line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    """Empty for what is not there; a float so that it reads back as the same float, numpy's or not."""
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)
