"""Writes what ``coevo correlate`` found: tables (CSV) and a figure (PNG, SVG)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coevo.correlate.correlation import Results, Rung
from coevo.report.colours import FRONT, KNEE
from coevo.report.figures import saved, styled
from coevo.report.files import write_atomically
from coevo.report.tables import aligned, csv_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    "model",
    "spearman",
    "spearman_low",
    "spearman_high",
    "kendall",
    "top_precision",
    "seconds_per_network",
    "seconds_once",
    "failed",
    "fidelity",
)
"""Of ``correlation.csv``."""

_FREE_S = 1e-3
"""What takes less is drawn at this place: a logarithmic axis has no 0 [s]."""


def write_results(results: Results, folder: Path | str) -> Path:
    """Writes ``correlation.csv``, ``networks.csv``, ``correlation.png`` and ``correlation.svg``.

    Args:
        results: What to write.
        folder: Where; it exists.

    Returns:
        The path of the PNG.

    Raises:
        RunError: A file cannot be written.
    """
    folder = Path(folder)
    write_atomically(folder / "correlation.csv", csv_text(COLUMNS, (_row(rung) for rung in _sorted(results))))
    write_atomically(folder / "networks.csv", _networks(results))
    with styled():
        for name, image in saved("correlation", _figure(results)):
            write_atomically(folder / name, image)
    return folder / "correlation.png"


def text_table(results: Results) -> str:
    """Returns the verdicts as lines for a terminal, the best first."""
    top = next(iter(results.rungs.values())).agreement.top
    head = ("model", "Spearman", "95 %", "Kendall", f"top {top}", "s/network", "s once", "failed")
    rows = [
        (
            rung.label,
            f"{rung.agreement.spearman:.3f}",
            f"{rung.agreement.low:.3f}..{rung.agreement.high:.3f}",
            f"{rung.agreement.kendall:.3f}",
            f"{rung.agreement.precision:.0%}",
            f"{rung.seconds:.3g}",
            f"{rung.once:.0f}" if rung.once else "",
            str(rung.failed or ""),
        )
        for rung in _sorted(results)
    ]
    return aligned([head, *rows])


def _sorted(results: Results) -> list[Rung]:
    """The best first; those without a correlation last."""
    return sorted(results.rungs.values(), key=lambda rung: -_or_least(rung.agreement.spearman))


def _or_least(value: float) -> float:
    return value if math.isfinite(value) else -2.0


def _row(rung: Rung) -> tuple[Any, ...]:
    a = rung.agreement
    figures = (a.spearman, a.low, a.high, a.kendall, a.precision, rung.seconds, rung.once)
    return (rung.label, *(f"{value:.6g}" for value in figures), rung.failed, rung.fidelity)


def _networks(results: Results) -> str:
    """A row per network: every gene, the reference's error, every model's."""
    genes = list(dict.fromkeys(name for network in results.networks for name in network.choices))
    rungs = list(results.rungs.values())
    rows = (
        (
            *(network.choices.get(gene, "") for gene in genes),
            f"{results.truth[i]:.6g}",
            *("" if math.isinf(rung.errors[i]) else f"{rung.errors[i]:.6g}" for rung in rungs),
        )
        for i, network in enumerate(results.networks)
    )
    return csv_text((*genes, "reference", *(rung.label for rung in rungs)), rows)


def _figure(results: Results) -> Figure:
    """The figure: rank correlation over seconds per network, a labelled point per model."""
    from matplotlib.figure import Figure

    rungs = [rung for rung in _sorted(results) if math.isfinite(rung.agreement.spearman)]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for rung in rungs:
        x, a = max(rung.seconds, _FREE_S), rung.agreement
        colour, marker = (KNEE, "s") if rung.fidelity.startswith("ranks of ") else (FRONT, "o")
        axes.errorbar(
            x, a.spearman, [[a.spearman - a.low], [a.high - a.spearman]], fmt=marker, color=colour, capsize=3, ms=6
        )
    axes.set_xscale("log")
    axes.set_xlim(_FREE_S / 1.6, 8 * max([1.0, *(rung.seconds for rung in rungs)]))
    for rung, y in zip(rungs, _apart([rung.agreement.spearman for rung in rungs], axes.get_ylim()), strict=True):
        place = (max(rung.seconds, _FREE_S), rung.agreement.spearman)
        axes.annotate(
            _label(rung),
            place,
            (1.01, y),
            textcoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "#c8c8c8", "lw": 0.7, "shrinkB": 5},
        )
    axes.set_xlabel(f"Time per network [s] (below {_FREE_S * 1e3:g} ms drawn there)")
    axes.set_ylabel("Spearman rank correlation with the reference")
    networks = f"{len(results.networks)} random networks of {results.space}"
    axes.set_title(f"{networks}; reference: {results.reference}", size=10)
    return figure


def _label(rung: Rung) -> str:
    once = f" (and {rung.once:.0f} s once)" if rung.once else ""
    return f"{rung.label}  {rung.agreement.spearman:.2f}{once}"


def _apart(values: Sequence[float], limits: tuple[float, float]) -> list[float]:
    """Moves labels, given from the highest down, so far apart that they can be read."""
    step = (limits[1] - limits[0]) / 22
    places: list[float] = []
    for value in values:
        places.append(value if not places else min(value, places[-1] - step))
    lowest = limits[0]
    if places and places[-1] < lowest:
        places = [place + (lowest - places[-1]) for place in places]
    return places
