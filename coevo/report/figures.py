"""Static figures for papers, by matplotlib; equal runs give equal files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coevo.report.colours import DOMINATED, FRONT, KNEE
from coevo.report.history import History
from coevo.report.points import Points, axis_label, best_label, log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    # Without a salt, matplotlib draws the ids inside an SVG anew each time.
    "svg.hashsalt": "coevo",
    "savefig.dpi": 200,
}
_RASTERISED_ABOVE = 2_000


def figure_files(points: Points, curve: History | None) -> Iterator[tuple[str, bytes]]:
    """Yields (file name, content) of every static figure, as PNG and SVG; none if no design is feasible."""
    if curve is None:
        return
    with styled():
        for x, y in points.pairs:
            stem = f"pareto_{_safe(points.objectives[x].name)}_{_safe(points.objectives[y].name)}"
            yield from saved(stem, _pareto(points, x, y))
        stem = "hypervolume" if len(points.objectives) > 1 else f"best_{_safe(points.objectives[0].name)}"
        yield from saved(stem, _history(curve))


@contextmanager
def styled() -> Iterator[None]:
    """Draws in `STYLE`, whatever the user's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]  # keys are a Literal of 400 names
        yield


def saved(stem: str, figure: Figure) -> Iterator[tuple[str, bytes]]:
    """Yields (file name, content) of a figure, as PNG and SVG without a date."""
    metadata: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}}
    for kind, extra in metadata.items():
        content = io.BytesIO()
        figure.savefig(content, format=kind, metadata=extra)
        yield f"{stem}.{kind}", content.getvalue()


def _safe(name: str) -> str:
    """A metric's name may come from a run folder of someone else: nothing but letters, digits, ``-`` and ``_``."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def _canvas() -> tuple[Figure, Axes]:
    # Not through pyplot: it takes over a second to import and keeps every figure alive.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    return figure, figure.add_subplot()


def _pareto(points: Points, x: int, y: int) -> Figure:
    figure, axes = _canvas()
    dominated, stairs = points.dominated, points.natural[points.staircase(x, y)]
    pixels = len(dominated) > _RASTERISED_ABOVE
    cloud = f"dominated ({len(dominated):,})"
    _scatter(axes, points, dominated, x, y, s=9, color=DOMINATED, linewidths=0, label=cloud, rasterized=pixels)
    axes.step(
        stairs[:, x], stairs[:, y], where="post", color=FRONT, linewidth=0.9, alpha=0.6, label="best of this pair"
    )
    front = f"front ({len(points.front):,})"
    _scatter(
        axes, points, points.front, x, y, s=18, color=FRONT, edgecolors="white", linewidths=0.4, label=front, zorder=3
    )
    for axis, objective in (("x", x), ("y", y)):
        _scale(axes, axis, points, objective)
    _label(axes, points, x, y)
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handletextpad=0.2, columnspacing=1.2, fontsize=8
    )
    return figure


def _scatter(axes: Axes, points: Points, rows: Sequence[int] | NDArray[np.int64], x: int, y: int, **style: Any) -> None:
    axes.scatter(points.natural[rows, x], points.natural[rows, y], **style)


def _scale(axes: Axes, axis: str, points: Points, objective: int) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    getattr(axes, f"set_{axis}label")(axis_label(points.objectives[objective]))
    if points.logarithmic(objective):
        getattr(axes, f"set_{axis}scale")("log")
        ticks = getattr(axes, f"{axis}axis")
        ticks.set_major_locator(FixedLocator(log_ticks(points.natural[points.feasible, objective])))
        ticks.set_major_formatter(StrMethodFormatter("{x:g}"))
        ticks.set_minor_locator(NullLocator())


def _label(axes: Axes, points: Points, x: int, y: int) -> None:
    """Names the knee and the best design of each of the pair's objectives, beside their points."""
    from matplotlib.patheffects import withStroke

    named: dict[int, list[str]] = {}
    if points.knee is not None:
        named[points.knee] = ["knee"]
        style = {"s": 90, "marker": "*", "color": KNEE, "edgecolors": "white", "linewidths": 0.5, "zorder": 4}
        _scatter(axes, points, [points.knee], x, y, **style)
    for objective in (x, y):
        named.setdefault(points.ends[objective], []).append(best_label(points.objectives[objective]))
    for row, names in named.items():
        place = (points.natural[row, x], points.natural[row, y])
        right = axes.transAxes.inverted().transform(axes.transData.transform(place))[0] > 0.5
        axes.annotate(
            ", ".join(names),
            place,
            xytext=(4 if right else 7, 7 if right else 5),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=8,
            fontweight="bold" if row == points.knee else "normal",
            color=KNEE if row == points.knee else "black",
            path_effects=[withStroke(linewidth=2.2, foreground="white")],
            zorder=5,
        )


def _history(curve: History) -> Figure:
    figure, axes = _canvas()
    axes.step(curve.evaluations, curve.curve, where="post", color=FRONT)
    axes.set_xlabel("Designs evaluated")
    axes.set_ylabel(curve.label)
    if curve.label.startswith("Hypervolume"):
        axes.set_ylim(0.0, 1.0)
    return figure
