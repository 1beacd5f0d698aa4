"""Figures of a comparison: quality over budget, and what half of the runs attain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from coevo import pareto
from coevo.compare.comparison import Comparison
from coevo.compare.runs import Run, after
from coevo.protocols import Array
from coevo.report.colours import MEMORIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (*(colour for colour in MEMORIES if colour != "#F0E442"), "#000000")  # yellow lines are lost on white
_DASHES = ("-", "--", ":", "-.")
_MARKERS = "osD^vP*X"
_POINTS = 120
"""Places along an axis at which medians are drawn."""
_NARROW = 3.0
"""Ratio of the greatest to the least value up to which an axis is linear."""
_LEAST_GAP = 1e-4
"""What is missing less than this is drawn there."""


def figures_of(comparison: Comparison) -> dict[str, Figure]:
    """Returns each figure by name; to be drawn within `coevo.report.figures.styled`."""
    figures: dict[str, Figure] = {}
    if comparison.trains:
        figures["over_trainings"] = _history(comparison, "Networks trained", lambda run: run.trainings)
    figures["over_designs"] = _history(comparison, "Designs evaluated", lambda run: run.designs)
    if any(run.seconds.max(initial=0) > 1 for of in comparison.runs.values() for run in of):
        figures["over_time"] = _history(comparison, "Time of trainings [s]", lambda run: run.seconds)
    for i, k in combinations(range(len(comparison.objectives)), 2):
        figures[f"attainment_{i}{k}"] = _attainment(comparison, i, k)
    return figures


def _history(comparison: Comparison, label: str, spent: Callable[[Run], Any]) -> Figure:
    """What is missing to the whole hypervolume over what was spent."""
    figure, axes = _axes()
    for (name, runs), style in zip(comparison.runs.items(), _styles(len(comparison.runs)), strict=True):
        histories = [(run.history(comparison.measure), 1.0 * spent(run)) for run in runs]
        ends = [of[-1] for _, of in histories if len(of)]
        begins = [of[0] for _, of in histories if len(of)]
        if not ends:
            continue
        grid = np.unique(np.geomspace(max(1.0, np.median(begins)), max(np.median(ends), 2.0), _POINTS))
        shares = np.array([[after(history, of, place) for place in grid] for history, of in histories])
        low, middle, high = np.percentile(np.maximum(1 - shares, _LEAST_GAP), [25, 50, 75], axis=0)
        axes.plot(grid, middle, label=name, markevery=0.12, **style)
        axes.fill_between(grid, low, high, color=style["color"], alpha=0.12, lw=0)
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="Hypervolume missing (1 - share)")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.set_title(f"{comparison.spec.name}: hypervolume over {label.split(' [', maxsplit=1)[0].lower()}", loc="left")
    return figure


def _attainment(comparison: Comparison, first: int, second: int) -> Figure:
    """What half of the runs reach in two objectives (V. Grunert da Fonseca et al., EMO 2001)."""
    import moocore

    figure, axes = _axes()
    columns = [first, second]
    drawn = []
    for (name, runs), style in zip(comparison.runs.items(), _styles(len(comparison.runs)), strict=True):
        found = [run.values[:, columns] for run in runs if len(run.values)]
        if not found:
            continue
        points = np.concatenate(found)
        sets = np.repeat(np.arange(1, len(found) + 1), [len(values) for values in found])
        surface = moocore.eaf(points, sets, percentiles=[50])[:, :2]
        drawn.append(surface)
        axes.step(*_stairs(surface), where="post", label=name, **style)
    if comparison.measure.known:
        front = _best(np.array(comparison.measure.front)[:, columns])
        drawn.append(front)
        axes.step(
            *_stairs(front),
            where="post",
            label="true front",
            color="#888888",
            lw=4,
            alpha=0.45,
            zorder=0,
            marker="o",
            ms=6,
            mew=0,
        )
    names = [q.label for q in (comparison.objectives[first], comparison.objectives[second])]
    logarithmic = np.array(comparison.measure.logarithmic)[columns]
    if drawn:  # on a logarithmic axis of a narrow range labels overlap
        together = np.concatenate(drawn)
        logarithmic &= together.max(axis=0) > _NARROW * together.min(axis=0)
    scales = ["log" if wide else "linear" for wide in logarithmic]
    axes.set(xlabel=names[0], ylabel=names[1], xscale=scales[0], yscale=scales[1])
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    what = " and ".join(comparison.objectives[k].name for k in columns)
    axes.set_title(f"{comparison.spec.name}: {what} attained by half of the runs", loc="left")
    return figure


def _best(points: Array) -> Array:
    return points[pareto.nondominated(points, np.zeros(len(points)))]


def _stairs(points: Array) -> tuple[Array, Array]:
    """Points ``(point, 2)`` in the order of the first objective."""
    ordered = points[np.lexsort((-points[:, 1], points[:, 0]))]
    return ordered[:, 0], ordered[:, 1]


def _styles(count: int) -> Sequence[dict[str, Any]]:
    """A colour, a dash and a marker of its own for each line: told apart in grey too."""
    return [
        {
            "color": _COLOURS[i % len(_COLOURS)],
            "ls": _DASHES[(i // len(_COLOURS) + i) % len(_DASHES)],
            "lw": 1.6,
            "marker": _MARKERS[i % len(_MARKERS)],
            "ms": 4,
        }
        for i in range(count)
    ]


def _axes() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    return figure, figure.add_subplot()
