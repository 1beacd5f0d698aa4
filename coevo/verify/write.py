"""The verdicts as a table on the screen, ``verified.csv`` and ``verified.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from coevo.report.tables import aligned, csv_text
from coevo.timeloop.conventions import CONVENTIONS
from coevo.verify.against import Figures, Verdict

_COLUMNS = (
    "id", "target", "part", "layer", "count", "cycles", "timeloop_cycles", "cycles_deviation_pct", "energy_pj",
    "timeloop_energy_pj", "energy_deviation_pct", "mapper_cycles", "mapper_energy_pj", "mapper_edp_over_ours",
    "run_cycles", "run_energy_pj", "failure",
)  # fmt: skip


def verified_data(verdicts: Sequence[Verdict], form: str) -> dict[str, Any]:
    """Returns ``verified.json``: a row per design and target, with one per kind of layer in it."""
    return {
        "schema": 1,
        "backend": "timeloop",
        "format": form,
        "conventions": list(CONVENTIONS),
        "designs": [_design(verdict) for verdict in verdicts],
    }


def verified_json(verdicts: Sequence[Verdict], form: str) -> str:
    """Returns the text of ``verified.json``."""
    return json.dumps(verified_data(verdicts, form), indent=1, allow_nan=False) + "\n"


def verified_csv(verdicts: Sequence[Verdict], form: str) -> str:
    """Returns ``verified.csv``: per design the total, then its layers."""
    rows = []
    for design in verified_data(verdicts, form)["designs"]:
        rows.append({**design, "layer": "total"})
        own = {name: design[name] for name in ("id", "target", "part") if name in design}
        rows += [{**own, **layer} for layer in design["layers"]]
    columns = [name for name in _COLUMNS if name != "part" or any(name in row for row in rows)]
    return csv_text(columns, ([row.get(column) for column in columns] for row in rows))


def _design(verdict: Verdict) -> dict[str, Any]:
    design, total, furthest = verdict.design, verdict.total, verdict.furthest
    layers = [
        {"layer": layer.name, "count": layer.count, **_figures(found)}
        | {"run_cycles": float(layer.run.cycles), "run_energy_pj": layer.run.total_energy_pj}
        | ({"differs": list(layer.remarks)} if layer.remarks else {})
        for layer, found in zip(design.layers, verdict.layers or (), strict=False)
    ]
    return {
        "id": design.id,
        "target": design.target,
        **({"part": design.part} if design.part else {}),
        **(_figures(total) if total is not None else {}),
        "run_cycles": design.run.latency_cycles,
        "run_energy_pj": design.run.energy_pj,
        "furthest": furthest.name if furthest is not None else "",
        "failure": verdict.failure,
        "layers": layers,
    }


def _figures(found: Figures) -> dict[str, float | None]:
    return {
        "cycles": float(found.cycles),
        "timeloop_cycles": float(found.timeloop_cycles),
        "cycles_deviation_pct": 100 * found.cycles_deviation,
        "energy_pj": found.energy_pj,
        "timeloop_energy_pj": found.timeloop_energy_pj,
        "energy_deviation_pct": 100 * found.energy_deviation,
        "mapper_cycles": found.mapper_cycles,
        "mapper_energy_pj": found.mapper_energy_pj,
        "mapper_edp_over_ours": found.mapper_edp,
    }


def table(verdicts: Sequence[Verdict]) -> str:
    """Returns a line per design: our figures, how far they are from Timeloop's, and where most."""
    searched = any(v.total is not None and v.total.mapper_cycles is not None for v in verdicts)
    head = ["design", "our cycles", "Timeloop's", "off", "our uJ", "Timeloop's", "off", "furthest layer"]
    rows: list[Sequence[str]] = [[*head, *(["its mapper's EDP over ours"] if searched else [])]]
    for verdict in verdicts:
        total, furthest = verdict.total, verdict.furthest
        if total is None or furthest is None:
            cells = ["failed" if verdict.failure else "no layer that multiplies"] + [""] * (len(rows[0]) - 2)
        else:
            cells = [
                f"{total.cycles:,.0f}", f"{total.timeloop_cycles:,.0f}", percent(total.cycles_deviation),
                f"{total.energy_pj / 1e6:,.5g}", f"{total.timeloop_energy_pj / 1e6:,.5g}",
                percent(total.energy_deviation), furthest.name,
            ]  # fmt: skip
            cells += ["" if total.mapper_edp is None else f"{total.mapper_edp:.3f}"] if searched else []
        rows.append([verdict.design.label, *cells])
    return aligned(rows)


def percent(deviation: float) -> str:
    """Returns a deviation in percent; what is not exactly none is never shown as 0."""
    if deviation == 0:
        return "0 %"
    return f"{100 * deviation:+.4f} %" if abs(deviation) >= 1e-6 else "<0.0001 %"
