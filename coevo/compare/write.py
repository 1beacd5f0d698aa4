"""Writes what ``coevo compare`` found: a page that needs nothing else, its figures and its tables."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coevo.compare.comparison import Comparison, Standing
from coevo.compare.figures import figures_of
from coevo.report.figures import saved, styled
from coevo.report.files import write_atomically
from coevo.report.tables import aligned, csv_text

_HEAD = ("optimiser", "median", "quartiles", "IGD+", "rank", "designs", "p (best)")
_SURE = 0.05
"""Differences that are less likely by chance count as such."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b }
h1 { margin-bottom: 0 } .facts, .note { color: #555 } figure { margin: 1.5rem 0 } figcaption { color: #555 }
svg { max-width: 100%; height: auto } .scroll { overflow-x: auto }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem } th, td { padding: 0.25rem 0.7rem; text-align: right }
th:first-child, td:first-child { text-align: left } tr { border-bottom: 1px solid #e4e4e4 }
td.code { text-align: left } summary { color: #555 }
tr.best { font-weight: 600; background: #eef5fb } details tr.best { font-weight: inherit; background: none }
th { border-bottom: 2px solid #999 }
"""


def write_comparison(comparison: Comparison, folder: Path | str) -> Path:
    """Writes ``comparison.html``, ``comparison.csv`` and the figures as SVG and PNG.

    Args:
        comparison: What to write.
        folder: Where; it exists.

    Returns:
        The path of the page.

    Raises:
        RunError: A file cannot be written.
    """
    folder = Path(folder)
    drawn: dict[str, bytes] = {}
    with styled():
        for stem, figure in figures_of(comparison).items():
            drawn |= saved(stem, figure)
    for name, image in drawn.items():
        write_atomically(folder / name, image)
    svgs = {name.removesuffix(".svg"): image.decode() for name, image in drawn.items() if name.endswith(".svg")}
    write_atomically(folder / "comparison.csv", _csv(comparison))
    write_atomically(folder / "comparison.html", _page(comparison, svgs))
    return folder / "comparison.html"


def text_table(comparison: Comparison) -> str:
    """Returns the standings as lines for a terminal, the best of each budget first."""
    lines = []
    for budget, standings in comparison.standings.items():
        lines.append(f"{_budget(comparison, budget)}: share of {_measured_by(comparison)}")
        rows = [_cells(label, standing, standings) for label, standing in _sorted(standings)]
        lines.append(aligned([_HEAD, *rows]))
    return "\n".join(lines)


def _sorted(standings: Any) -> list[tuple[str, Standing]]:
    return sorted(standings.items(), key=lambda item: -item[1].median)


def _cells(label: str, standing: Standing, standings: Any) -> tuple[str, ...]:
    """A table's row; p against the one of the best median."""
    best = _sorted(standings)[0][0]
    low, high = standing.quartiles
    p = "" if label == best else _probability(standing.p[best])
    median = f"{standing.median:.4f}"
    distance = f"{np.median(standing.distances):.4f}"
    return label, median, f"{low:.4f}..{high:.4f}", distance, f"{standing.rank:.1f}", f"{standing.designs:.0f}", p


def _probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _budget(comparison: Comparison, budget: int) -> str:
    return f"{budget:,} {'trainings' if comparison.trains else 'designs'}"


def _measured_by(comparison: Comparison) -> str:
    return f"the hypervolume of {'the true front' if comparison.measure.known else 'the best front of all runs'}"


def _csv(comparison: Comparison) -> str:
    """A row per budget, optimiser and seed."""
    rows = []
    for budget, standings in comparison.standings.items():
        for label, standing in standings.items():
            for i, (share, distance) in enumerate(zip(standing.shares, standing.distances, strict=True)):
                seed = comparison.spec.first_seed + i
                rows.append((budget, label, seed, f"{share:.6g}", f"{distance:.6g}"))
    return csv_text(("budget", "optimizer", "seed", "share", "igd_plus"), rows)


def _page(comparison: Comparison, figures: dict[str, str]) -> str:
    spec = comparison.spec
    sections = [
        f"<h2>{html.escape(_budget(comparison, budget))}</h2>" + _table(comparison, budget)
        for budget in comparison.standings
    ]
    drawn = [
        f"<figure>{_inline(svg)}<figcaption>{html.escape(_caption(name))}</figcaption></figure>"
        for name, svg in figures.items()
    ]
    objectives = ", ".join(quantity.label for quantity in comparison.objectives)
    facts = f"{spec.experiment}: {objectives}; {spec.seeds} seeds of each optimiser"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(spec.name)}</title>",
        f"<style>{_STYLE}</style><h1>{html.escape(spec.name)}</h1>",
        f"<p>{html.escape(spec.description)}</p><p class=facts>{html.escape(facts)}</p>",
        f"<p class=note>{html.escape(_note(comparison))}</p>",
        *sections,
        *drawn,
        _settings(comparison),
        "</html>",
    ]
    return "\n".join(parts)


def _note(comparison: Comparison) -> str:
    scale = ", ".join(
        f"{quantity.name} {'log10' if log else 'linear'}"
        for quantity, log in zip(comparison.objectives, comparison.measure.logarithmic, strict=True)
    )
    return (
        f"Figures are shares of {_measured_by(comparison)}: {scale}, each scaled to 0..1 over the feasible designs, "
        "reference point 1. IGD+: how much worse the nearest of the found designs is, in the mean over those of the "
        "front. p: rank-sum test of the shares against every other optimiser, Holm-corrected for all pairs; "
        f"below {_SURE:g} a difference is hardly chance."
    )


def _table(comparison: Comparison, budget: int) -> str:
    """The standings; what every pair's test says can be opened beneath."""
    standings = comparison.standings[budget]
    ordered = _sorted(standings)
    rows = [_cells(label, standing, standings) for label, standing in ordered]
    pairs = [
        (label, *("" if other == label else _probability(standing.p[other]) for other, _ in ordered))
        for label, standing in ordered
    ]
    return (
        _grid((*_HEAD[:-1], f"p against {ordered[0][0]}"), rows)
        + "<details><summary>p of every pair</summary>"
        + _grid(("", *(label for label, _ in ordered)), pairs)
        + "</details>"
    )


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is marked."""
    lines = [f"<tr{' class=best' if i == 0 else ''}>{_joined('td', row)}</tr>" for i, row in enumerate(rows)]
    return f"<div class=scroll><table><tr>{_joined('th', head)}</tr>{''.join(lines)}</table></div>"


def _joined(tag: str, cells: Iterable[str]) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)


def _caption(name: str) -> str:
    if name.startswith("attainment"):
        return "What half of the runs reach or beat (50 % attainment surface), each optimiser's last designs."
    return "Median over the seeds, quartiles shaded: what is missing to the whole hypervolume. Lower is better."


def _settings(comparison: Comparison) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(label)}</td><td class=code><code>{html.escape(str(section))}</code></td></tr>"
        for label, section in comparison.spec.optimizers.items()
    )
    return f"<h2>Settings</h2><table>{rows}</table>"


def _inline(svg: str) -> str:
    """An SVG file's element alone."""
    return svg[svg.index("<svg") :]
