"""Writes what ``coevo cross`` found: as text, and as ``transfer.csv`` and ``ranking.csv``."""

from __future__ import annotations

import math
from pathlib import Path

from coevo.correlate.cross import FIGURES, Crossing
from coevo.report.files import write_atomically
from coevo.report.tables import aligned, csv_text


def cross_text(found: Crossing) -> str:
    """Returns both tables as text, and what must be known to read them."""
    lines = [f"{label}: {origin}" for label, origin in found.machines]
    if not found.alike:
        lines.append("note: the runs did not measure errors alike (model, data, seed or space differ)")
    head = ("networks of", "on machine", "run", "left out", "hypervolume", *(f"{name} +%" for name in FIGURES))
    rows = []
    for t in found.transfers:
        beyond = (_number(100 * t.excess[name], 1) for name in FIGURES)
        rows.append((t.front, t.machine, str(t.networks), str(t.left_out), _number(t.hypervolume, 3), *beyond))
    lines += ["", aligned([head, *rows], left=2)]
    ranked = [(f"{name} Spearman", f"{name} Kendall") for name in FIGURES[:2]]
    head = ("machines", "networks", *(column for pair in ranked for column in pair))
    rows = []
    for r in found.rankings:
        alike = (_number(of[name], 3) for name in FIGURES[:2] for of in (r.spearman, r.kendall))
        rows.append((" / ".join(r.machines), str(r.networks), *alike))
    return "\n".join([*lines, "", aligned([head, *rows])])


def write_cross(found: Crossing, folder: Path) -> list[Path]:
    """Writes ``transfer.csv`` (a row per front and machine) and ``ranking.csv`` (a row per pair of machines).

    Raises:
        RunError: They cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    excess = [f"excess_{name}" for name in FIGURES]
    transfers = [
        [
            t.front,
            t.machine,
            t.networks,
            t.left_out,
            *map(_known, (t.hypervolume, *(t.excess[name] for name in FIGURES))),
        ]
        for t in found.transfers
    ]
    names = [f"{statistic}_{name}" for name in FIGURES[:2] for statistic in ("spearman", "kendall")]
    rankings = [
        [*r.machines, r.networks, *(_known(of[name]) for name in FIGURES[:2] for of in (r.spearman, r.kendall))]
        for r in found.rankings
    ]
    files = {
        "transfer.csv": csv_text(["front", "machine", "networks", "left_out", "hypervolume_share", *excess], transfers),
        "ranking.csv": csv_text(["machine", "other_machine", "networks", *names], rankings),
    }
    for name, text in files.items():
        write_atomically(folder / name, text)
    return [folder / name for name in files]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
