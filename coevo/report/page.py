"""``report.html``: one file that shows a run to whoever did not make it, and asks nothing of the network.

Python says what the page says in words and tables and what plotly.js draws; `page.js` adds what moves: the
sortable table, the choice of a design and its details. The data stand in the page as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from coevo.design import FrontDesign, Quantity, Results
from coevo.report import colours
from coevo.report.details import detail
from coevo.report.drivers import MIN_DESIGNS, drivers
from coevo.report.history import History
from coevo.report.plots import drivers_figure, history_figure, parallel_figure, pareto_figure, short
from coevo.report.points import MAX_DOMINATED, Points, best_label, label
from coevo.report.reasons import Reason, count_reasons
from coevo.report.tables import known_extras, metric_columns
from coevo.report.verified import verified_section

MAX_DETAILED = 300
"""Designs of the front whose layers the page carries; the others' stand in ``front/<id>.yaml``."""

_SHOWN_REASONS = 15
_TRAINING = ("train", "inherit")


def page(results: Results, points: Points, curve: History | None, verified: Mapping[str, Any] | None = None) -> str:
    """Returns the text of ``report.html``, with what `coevo.report.verified` read, if anything."""
    from plotly.offline import get_plotlyjs

    room = files("coevo.report")
    parts = {
        "title": escape(results.name),
        "facts": _facts(results),
        "numbers": _numbers(results),
        "summary": _summary(results, points),
        "pareto_caption": escape(_pareto_caption(points)),
        "history_title": "Hypervolume over evaluations"
        if len(points.objectives) > 1
        else "Best design over evaluations",
        "history_caption": escape(curve.caption if curve else ""),
        "verified": verified_section(verified, {design.evaluation.id for design in results.front.designs}),
        "reasons": _reasons(results),
        "constraints": _constraints(results),
        "settings": escape(results.settings),
        "data": _json(_data(results, points, curve)),
        "style": room.joinpath("page.css").read_text(encoding="utf-8"),
        "script": room.joinpath("page.js").read_text(encoding="utf-8"),
        "plotly": get_plotlyjs(),
    }
    template = room.joinpath("page.html").read_text(encoding="utf-8")
    # In one pass: what stands in the data is never taken for a place to fill in.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _json(data: object) -> str:
    """JSON that may stand inside a script element: without ``<`` no text can end it or open a comment."""
    return json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


# -- data for the script ---------------------------------------------------------------------------------------


def _data(results: Results, points: Points, curve: History | None) -> dict[str, Any]:
    return {
        "front": _front(results, points),
        "details": {d.evaluation.id: detail(d) for d in _detailed(results, points)},
        "figures": _figures(results, points, curve),
        "colours": {
            "memories": colours.MEMORIES,
            "compute": colours.COMPUTE,
            "leakage": colours.LEAKAGE,
            "operands": colours.OPERANDS,
        },
    }


def _figures(results: Results, points: Points, curve: History | None) -> dict[str, Any]:
    if curve is None:
        return {}
    found = drivers(results, points)
    figures = {"history": history_figure(points, curve)}
    if points.pairs:
        figures["pareto"] = pareto_figure(points)
    if len(points.front) > 1:
        figures["parallel"] = parallel_figure(results, points, found)
    if found.genes and found.share.max() > 0 and points.feasible.sum() >= MIN_DESIGNS:
        figures["drivers"] = drivers_figure(found, points.objectives)
    return figures


def _front(results: Results, points: Points) -> dict[str, Any]:
    """The front as a table: columns, and a row per design with numbers to 6 significant digits."""
    extras = known_extras(results)
    designs = results.front.designs
    by_column = {**results.quantities, **{q.column: q for q in results.objectives}}
    measured = [by_column[column] for column in metric_columns(results)]
    measured[len(points.objectives) : len(points.objectives)] = extras
    objectives = {q.column: i for i, q in enumerate(results.objectives)}
    columns = [
        {"key": q.column, "title": q.title or q.name, "unit": q.unit.replace("mm2", "mm²"), "maximise": q.maximise}
        | {"kind": "objective" if q.column in objectives else "metric"}
        for q in measured
    ]
    genes = [name for name in results.genes if len({d.evaluation.genes.get(name) for d in designs}) > 1]
    columns += [{"key": name, "title": short(name), "unit": "", "maximise": False, "kind": "gene"} for name in genes]
    rows = [
        [
            *(_number(_known(d, q)) for q in measured),
            *(_value(d.evaluation.genes.get(name)) for name in genes),
        ]
        for d in designs
    ]
    return {
        "ids": [d.evaluation.id for d in designs],
        "columns": columns,
        "rows": rows,
        "natural": [[_number(float(x)) for x in points.natural[row]] for row in points.front],
        "tags": [_tags(points, int(row)) for row in points.front],
    }


def _known(design: FrontDesign, quantity: Quantity) -> float | None:
    return {**design.extras, **design.evaluation.metrics}.get(quantity.column)


def _number(value: float | None) -> float | None:
    if value is None or not np.isfinite(value):
        return None
    return value if float(value).is_integer() else float(f"{value:.6g}")  # counts stay exact


def _value(value: Any) -> str | float | None:
    return value if value is None or isinstance(value, int | float) else str(value)


def _tags(points: Points, row: int) -> list[str]:
    tags = ["knee"] if row == points.knee else []
    return tags + [best_label(q) for q, end in zip(points.objectives, points.ends, strict=True) if end == row]


def _detailed(results: Results, points: Points) -> Sequence[FrontDesign]:
    """All of the front, or `MAX_DETAILED` spread evenly along it, with its knee and ends."""
    designs = results.front.designs
    if len(designs) <= MAX_DETAILED:
        return designs
    special = {points.ids[row] for row in (*points.ends, *([] if points.knee is None else [points.knee]))}
    spread = {int(i) for i in np.linspace(0, len(designs) - 1, MAX_DETAILED - len(special))}
    return [d for i, d in enumerate(designs) if i in spread or d.evaluation.id in special]


# -- what the page says in words -------------------------------------------------------------------------------


def _facts(results: Results) -> str:
    return _pairs(results.facts.items())


def _pairs(items: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in items)


def _numbers(results: Results) -> str:
    """The run in figures: counts, and how large the spaces are."""
    infeasible = sum(e.violation > 0 for e in results.evaluations)
    count = len(results.evaluations)
    share = f" ({infeasible / count:.0%})" if count else ""
    trained = f"{results.trainings:,}"
    numbers = {
        "on the front": f"{len(results.front.designs):,}",
        "designs evaluated": f"{count:,}",
        "infeasible": f"{infeasible:,}{share}",
        "networks trained" if results.facts.get("accuracy") in _TRAINING else "networks scored": trained,
        "trainings saved": f"{results.trainings_saved:,}",
    }
    tiles = "".join(
        f"<div><b>{escape(number)}</b><span>{escape(name)}</span></div>" for name, number in numbers.items()
    )
    spaces = "".join(
        f'<div title="{size} designs"><b>{_size(size)}</b><span>{escape(name)} space</span></div>'
        for name, size in results.space_sizes.items()
    )
    return tiles + spaces


def _size(count: int) -> str:
    """Exact up to a million, then as a power of ten; the counts may exceed any float."""
    if count < 1_000_000:
        return f"{count:,}"
    digits = str(count)
    exponent = len(digits) - 1
    return f"{digits[0]}.{digits[1]} × 10<sup>{exponent}</sup>"


def _summary(results: Results, points: Points) -> str:
    """The ends and the knee of the front in numbers, each row a button for its design."""
    if not results.front.designs:
        return (
            f'<p class="warning">None of the {len(results.evaluations):,} evaluated designs is feasible, so there is '
            "no front. See “Infeasible designs” below for what to relax.</p>"
        )
    named: dict[int, list[str]] = {}
    for row, quantity in zip(points.ends, points.objectives, strict=True):
        named.setdefault(row, []).append(best_label(quantity))
    if points.knee is not None:
        named.setdefault(points.knee, []).insert(0, "★ knee")
    extras = [q for q in known_extras(results) if q.name in ("test_error", "final_error", "final_test_error")]
    known = {d.evaluation.id: d.extras for d in results.front.designs}
    heads = ["", *(label(q) for q in points.objectives), *(q.label for q in extras), "Design"]
    body = []
    for row, names in sorted(named.items(), key=lambda item: "★ knee" not in item[1]):
        figures = [_figure(x) for x in points.natural[row]]
        figures += [_with_spread(known[points.ids[row]], q) for q in extras]
        id_ = escape(points.ids[row])
        cells = "".join(f"<td>{figure}</td>" for figure in figures)
        body.append(f'<tr data-id="{id_}"><th>{escape(", ".join(names))}</th>{cells}<td class="id">{id_}</td></tr>')
    head = "".join(f"<th>{escape(title)}</th>" for title in heads)
    table = f"<table class='ends'><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return table + _fidelities(results)


def _with_spread(extras: Mapping[str, float], quantity: Quantity) -> str:
    """A figure with its standard deviation over seeds, if it has one."""
    spread = extras.get(quantity.column.replace("_pct", "_std_pct"))
    return _figure(extras.get(quantity.column)) + ("" if spread is None else f" ± {_figure(spread)}")


def _fidelities(results: Results) -> str:
    """How the front's accuracies were measured, with a warning if not all alike; and what training it anew said."""
    kinds = sorted({d.evaluation.fidelity for d in results.front.designs if d.evaluation.fidelity})
    finals = [d.final for d in results.front.designs if d.final is not None]
    text = ""
    if len(kinds) == 1:
        text = f"<p>Errors of the search: {escape(kinds[0])}.</p>"
    elif kinds:
        text = (
            '<p class="warning">The front holds errors of different fidelity, which do not compare: '
            f"{escape('; '.join(kinds))}. A section <code>final</code> trains all of the front alike.</p>"
        )
    if finals:
        seeds = max(len(final.errors) for final in finals)
        text += (
            f"<p>Final errors: every network of the front trained anew over {seeds} seed{'s' if seeds != 1 else ''} "
            f"({escape(next((final.fidelity for final in finals if final.fidelity), 'none succeeded'))}), their mean "
            f"and standard deviation. {sum(final.stands for final in finals)} of {len(finals)} designs stay on the "
            "front by them.</p>"
        )
    return text


def _figure(value: float | None) -> str:
    """To 4 significant digits, as the page's script writes them."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _pareto_caption(points: Points) -> str:
    if not points.pairs or not len(points.front):
        return ""
    flipped = [(q.title or q.name).lower() for q in points.objectives if q.maximise]
    better = "Better is towards the lower left"
    better += f" (towards larger values of {' and '.join(flipped)})." if flipped else "."
    many = len(points.objectives) > 2
    joint = (
        " The front counts all objectives at once, so in one pair some of its designs lie behind others."
        if many
        else ""
    )
    sampled = (
        f" {MAX_DOMINATED:,} of the {len(points.dominated):,} dominated designs are drawn, a random sample."
        if len(points.drawn) < len(points.dominated)
        else ""
    )
    return f"{better}{joint}{sampled} Click a design to see it below; click the legend to hide or show a group."


def _constraints(results: Results) -> str:
    if not results.constraints:
        return "<p>No constraints besides that every layer must fit.</p>"
    return f"<p>Constraints: {escape('; '.join(results.constraints))}. Besides, every layer must fit.</p>"


def _reasons(results: Results) -> str:
    """A row per kind of infeasibility with a bar for its count."""
    reasons = count_reasons(results.evaluations)
    if not reasons:
        return "<p>Every evaluated design was feasible.</p>"
    most = reasons[0].count
    rows = "".join(_reason(reason, most) for reason in reasons[:_SHOWN_REASONS])
    rest = reasons[_SHOWN_REASONS:]
    more = (
        f"<p>{sum(r.count for r in rest):,} more for {len(rest):,} other reasons: see designs.csv.</p>" if rest else ""
    )
    return (
        "<table class='reasons'><thead><tr><th>Designs</th><th></th><th>Reason (# stands for a number)</th>"
        f"<th>For example</th></tr></thead><tbody>{rows}</tbody></table>{more}"
    )


def _reason(reason: Reason, most: int) -> str:
    bar = f'<i style="width:{100 * reason.count / most:.1f}%"></i>'
    example = f'{escape(reason.example)} <span class="id">{escape(reason.id)}</span>'
    cells = f"<td class='bar'>{bar}</td><td>{escape(reason.pattern)}</td><td>{example}</td>"
    return f"<tr><td>{reason.count:,}</td>{cells}</tr>"
