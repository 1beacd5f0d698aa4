"""The page's interactive figures as plain dicts in the form that plotly.js draws, ``{"data": ..., "layout": ...}``."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coevo.design import Quantity, Results
from coevo.report.colours import CHOSEN, DOMINATED, FRONT, INFEASIBLE, KNEE, MEMORIES
from coevo.report.drivers import Drivers
from coevo.report.history import History
from coevo.report.points import Array, Points, axis_label, label, log_ticks

Figure = dict[str, Any]

_GL_ABOVE = 1_500
"""Points above which a cloud is drawn by WebGL; SVG gets slow."""

MAX_GENES = 9
"""Genes among the parallel coordinates and bars of the drivers; more do not stay readable."""

_INACTIVE = "none"
_FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif", "size": 12.5}
_AXIS: dict[str, Any] = {
    "gridcolor": "#ececec",
    "linecolor": "#888",
    "showline": True,
    "ticks": "outside",
    "tickcolor": "#888",
    "zeroline": False,
    "automargin": True,
}


def text(value: object) -> str:
    """Returns a value so that plotly.js, which reads some HTML in labels, shows it as it is."""
    return html.escape(str(value), quote=False)


def numbers(array: Array) -> list[float | None]:
    """Returns an array for JSON: 6 significant digits, None where not finite."""
    return [float(f"{x:.6g}") if math.isfinite(x) else None for x in array.tolist()]


# -- Pareto scatter --------------------------------------------------------------------------------------------


def pareto_figure(points: Points) -> Figure:
    """Returns a scatter plot for every pair of objectives, side by side, with one legend.

    Traces carry in ``meta`` their role and pair, so that the page's script finds the front and the chosen design.
    """
    columns = min(3, len(points.pairs))
    rows = math.ceil(len(points.pairs) / columns)
    layout: Figure = {
        "font": _FONT,
        "height": 70 + 400 * rows if columns > 1 else 520,
        "margin": {"l": 70, "r": 20, "t": 50, "b": 60},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.0,
            "yanchor": "bottom",
            "yref": "paper",
            "itemsizing": "constant",
        },
        "hovermode": "closest",
        "plot_bgcolor": "white",
    }
    data: list[Figure] = []
    for number, (x, y) in enumerate(points.pairs):
        suffix = str(number + 1) if number else ""
        row, column = divmod(number, columns)
        layout[f"xaxis{suffix}"] = _axis(points, x) | {"domain": _share(column, columns, 0.085), "anchor": f"y{suffix}"}
        upwards = _share(rows - 1 - row, rows, 0.15)
        layout[f"yaxis{suffix}"] = _axis(points, y) | {"domain": upwards, "anchor": f"x{suffix}"}
        data += [
            trace | {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "showlegend": number == 0}
            for trace in _pair(points, x, y)
        ]
    return {"data": data, "layout": layout}


def _axis(points: Points, objective: int) -> Figure:
    title = {"text": text(axis_label(points.objectives[objective])), "standoff": 8}
    return _AXIS | {"title": title} | _log(points, objective)


def _log(points: Points, objective: int) -> Figure:
    """What makes an axis logarithmic, if it is."""
    if not points.logarithmic(objective):
        return {}
    return {"type": "log", "tickvals": log_ticks(points.natural[points.feasible, objective])}


def _share(index: int, count: int, gap: float) -> list[float]:
    """Part ``index`` of the unit interval in ``count`` equal parts with gaps between them."""
    width = (1 - gap * (count - 1)) / count
    return [index * (width + gap), index * (width + gap) + width]


def _pair(points: Points, x: int, y: int) -> list[Figure]:
    infeasible = np.flatnonzero(~points.feasible)[-5_000:]
    known = infeasible[np.isfinite(points.natural[infeasible][:, [x, y]]).all(axis=1)]
    knee = np.array([] if points.knee is None else [points.knee], dtype=np.int64)
    nobody = points.front[:0]
    refused = f"infeasible ({int((~points.feasible).sum()):,}), where known"
    silent = {"hoverinfo": "skip", "hovertemplate": None}
    white = {"width": 1, "color": "white"}
    dotted = {"color": FRONT, "width": 1, "shape": "hv", "dash": "dot"}
    cross = {"color": INFEASIBLE, "size": 6, "symbol": "x-thin", "line": {"width": 1, "color": INFEASIBLE}}
    star = {"color": KNEE, "size": 16, "symbol": "star", "line": white}
    ring = {"color": CHOSEN, "size": 17, "symbol": "circle-open", "line": {"width": 2.5}}
    return [
        _cloud(points, known, x, y, "infeasible", refused) | {"marker": cross, "visible": "legendonly"},
        _cloud(points, points.drawn, x, y, "dominated", f"dominated ({len(points.dominated):,})")
        | {"marker": {"color": DOMINATED, "size": 5, "opacity": 0.75}},
        _cloud(points, points.staircase(x, y), x, y, "stairs", "best in this pair alone")
        | {"mode": "lines", "line": dotted, **silent},
        _cloud(points, points.front, x, y, "front", f"front ({len(points.front):,})")
        | {"marker": {"color": FRONT, "size": 9, "line": white}},
        _cloud(points, knee, x, y, "knee", "knee") | {"marker": star},
        _cloud(points, nobody, x, y, "chosen", "chosen design") | {"marker": ring, **silent},
    ]


def _cloud(points: Points, rows: NDArray[np.int64], x: int, y: int, role: str, name: str) -> Figure:
    picked = points.natural[rows]
    figures = "<br>".join(
        f"{text(q.title or q.name)}: %{{customdata[{j + 1}]:.4g}} {text(q.unit)}"
        for j, q in enumerate(points.objectives)
    )
    return {
        # All of a figure by the same means: what WebGL draws would cover what SVG draws, whatever their order.
        "type": "scattergl" if len(points.drawn) > _GL_ABOVE else "scatter",
        "mode": "markers",
        "name": name,
        "legendgroup": role,
        "meta": {"role": role, "x": x, "y": y},
        "x": numbers(picked[:, x]),
        "y": numbers(picked[:, y]),
        "customdata": [[points.ids[row], *numbers(points.natural[row])] for row in rows],
        "hovertemplate": f"<b>%{{customdata[0]}}</b> ({role})<br>{figures}<extra></extra>",
    }


# -- the run ---------------------------------------------------------------------------------------------------


def history_figure(points: Points, curve: History) -> Figure:
    """Returns hypervolume, or for one objective its best so far before all feasible designs, over evaluations."""
    share = curve.label.startswith("Hypervolume")
    rows = np.append(points.drawn, points.front)
    kind = "scattergl" if not share and len(rows) > _GL_ABOVE else "scatter"
    line = {
        "type": kind,
        "mode": "lines",
        "name": "best so far",
        "x": curve.evaluations.tolist(),
        "y": numbers(curve.curve),
        "line": {"color": FRONT, "width": 2, "shape": "hv"},
        "hovertemplate": "%{y:.4g} after %{x} designs<extra></extra>",
    }
    dots = {
        "type": kind,
        "mode": "markers",
        "name": "feasible designs",
        "x": (rows + 1).tolist(),
        "y": numbers(points.natural[rows, 0]),
        "text": [points.ids[row] for row in rows],
        "marker": {"color": DOMINATED, "size": 5},
    }
    y = _AXIS | {"title": {"text": text(curve.label)}}
    layout = _plain_layout(360) | {
        "showlegend": not share,
        "xaxis": _AXIS | {"title": {"text": "Designs evaluated"}, "rangemode": "tozero"},
        "yaxis": y | {"range": [0, 1], "tickformat": ".0%"} if share else y | _log(points, 0),
    }
    return {"data": [line] if share else [dots, line], "layout": layout}


def drivers_figure(found: Drivers, objectives: Sequence[Quantity]) -> Figure:
    """Returns how much of every objective's variance the foremost genes explain, as grouped bars."""
    genes = found.genes[: MAX_GENES + 3]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": text(quantity.title or quantity.name),
            "y": [text(short(gene)) for gene in genes],
            "x": numbers(found.share[: len(genes), j]),
            "marker": {"color": MEMORIES[j % len(MEMORIES)]},
            "hovertemplate": "%{y}: %{x:.0%}<extra>%{fullData.name}</extra>",
        }
        for j, quantity in enumerate(objectives)
    ]
    title = {"text": "Share of the variance explained by the gene alone"}
    layout = _plain_layout(110 + len(genes) * (14 + 7 * len(objectives))) | {
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": _AXIS | {"title": title, "tickformat": ".0%", "rangemode": "tozero"},
        "yaxis": _AXIS | {"autorange": "reversed", "ticks": ""},
    }
    return {"data": data, "layout": layout}


def _plain_layout(height: int) -> Figure:
    return {
        "font": _FONT,
        "height": height,
        "margin": {"l": 70, "r": 20, "t": 20, "b": 50},
        "plot_bgcolor": "white",
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "traceorder": "normal"},
    }


def short(gene: str) -> str:
    """Returns a gene's name without what goes without saying: that it is the network's, or a memory's."""
    return gene.removeprefix("net.").replace(".memories.", ".")


# -- parallel coordinates --------------------------------------------------------------------------------------


def parallel_figure(results: Results, points: Points, found: Drivers) -> Figure:
    """Returns parallel coordinates of the front: the foremost genes that vary over it, then the objectives."""
    designs = results.front.designs
    columns = {name: [d.evaluation.genes.get(name) for d in designs] for name in results.genes}
    varied = [name for name in found.genes if len(set(columns[name])) > 1]
    # The template says which genes are switched on at all, however little it explains by itself.
    foremost = sorted(varied, key=lambda name: name != "template")[:MAX_GENES]
    dimensions = [_choices(name, columns[name]) for name in results.genes if name in foremost]
    dimensions += [_measure(points, j) for j in range(len(points.objectives))]
    rank = np.argsort(np.argsort(points.values[points.front, 0], kind="stable"), kind="stable")
    trace = {
        "type": "parcoords",
        "dimensions": dimensions,
        # 0..1 is the rank in the first objective, best to worst; the script sets the chosen design to 2: black, on top.
        "line": {"color": numbers(rank / max(1, len(rank) - 1)), "cmin": 0, "cmax": 2, "colorscale": _SCALE},
        "labelangle": -22,
        "labelside": "top",
        "labelfont": {"size": 12},
        "unselected": {"line": {"color": "#cccccc", "opacity": 0.25}},
    }
    layout = {"font": _FONT, "height": 470, "margin": {"l": 90, "r": 70, "t": 130, "b": 25}}
    return {"data": [trace], "layout": layout}


_SCALE = [[0, "#0072B2"], [0.25, "#7FB8D6"], [0.5, "#E8C777"], [0.51, CHOSEN], [1, CHOSEN]]


def _choices(name: str, values: Sequence[Any]) -> Figure:
    """An axis of the values that a gene takes over the front, in their order; text and inactive by name."""
    present = {value for value in values if value is not None}
    numeric = all(isinstance(value, int | float) for value in present)
    known: list[Any] = sorted(present) if numeric else sorted(present, key=str)
    if None in values:
        known = [None, *known]
    ticks = [
        _INACTIVE if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in known
    ]
    return {
        "label": text(short(name)),
        "values": [known.index(value) for value in values],
        "tickvals": list(range(len(known))),
        "ticktext": ticks,  # plotly.js reads no HTML here
    }


def _measure(points: Points, objective: int) -> Figure:
    """An axis of an objective over the front, logarithmic where the scatter plots' is."""
    values = points.natural[points.front, objective]
    low, high = float(values.min()), float(values.max())
    log = points.logarithmic(objective)
    ticks = log_ticks(values) if log else np.linspace(low, high, 5).tolist()
    scale = math.log10 if log else float
    # The axis reaches from its first to its last tick; ticks close to the ends would run into theirs.
    room = 0.06 * (scale(high) - scale(low))
    inner = [tick for tick in ticks if scale(low) + room < scale(tick) < scale(high) - room]
    shown = [low, *inner, high] if high > low else [low]
    return {
        "label": text(label(points.objectives[objective])),
        "values": numbers(np.log10(values) if log else values),
        "tickvals": [scale(tick) for tick in shown],
        "ticktext": [f"{tick:.3g}" for tick in shown],
    }
