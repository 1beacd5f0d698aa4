"""Writes the report of a run: tables for programs, figures for papers, a page for people."""

from __future__ import annotations

import re
from pathlib import Path

from coevo.design import Results
from coevo.errors import RunError
from coevo.report.export import design_yaml
from coevo.report.figures import figure_files
from coevo.report.files import write_atomically
from coevo.report.history import history
from coevo.report.page import page
from coevo.report.points import Points
from coevo.report.tables import designs_csv, front_csv
from coevo.report.verified import read_verified


def write_report(results: Results, folder: Path | str, run_folder: Path | str | None = None) -> Path:
    """Writes ``front.csv``, ``designs.csv``, ``front/<id>.yaml``, the static figures and ``report.html``.

    Each file appears whole or not at all; designs of an older front are removed. Equal runs give equal tables.

    Args:
        results: The run.
        folder: Where to; made if absent.
        run_folder: Where the run lies, and with it what `coevo verify` said; ``folder`` if None.

    Returns:
        The path of ``report.html``.

    Raises:
        RunError: A design's id cannot be a file name (the run folder was tampered with).
    """
    folder = Path(folder)
    for evaluation in results.evaluations:
        if not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", evaluation.id):
            raise RunError(f"{evaluation.id!r} is no design id: the run folder is corrupt")
    (folder / "front").mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "front.csv", front_csv(results))
    write_atomically(folder / "designs.csv", designs_csv(results))
    _write_front(results, folder / "front")
    points = Points.of(results)
    curve = history(points)
    for name, content in figure_files(points, curve):
        write_atomically(folder / name, content)
    report = folder / "report.html"
    write_atomically(report, page(results, points, curve, read_verified(Path(run_folder or folder))))
    return report


def _write_front(results: Results, folder: Path) -> None:
    current = set()
    for design in results.front.designs:
        file = folder / f"{design.evaluation.id}.yaml"
        write_atomically(file, design_yaml(design, results.name))
        current.add(file)
    for stale in set(folder.glob("*.yaml")) - current:
        stale.unlink()
