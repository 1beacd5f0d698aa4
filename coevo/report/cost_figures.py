"""Figures of what a network costs on a machine: energy by part, utilization, roofline; equal input, equal files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.machine import Accelerator
from coevo.design import LayerCost
from coevo.errors import RunError, SpecError
from coevo.report.colours import COMPUTE, MEMORIES
from coevo.report.colours import LEAKAGE as LEAKAGE_COLOUR
from coevo.report.energy import LEAKAGE, MULTIPLIERS, energy_parts, energy_unit, ratio
from coevo.report.figures import STYLE, saved
from coevo.report.files import write_atomically
from coevo.report.roofline import Roofline, bounds, layers_csv, roofline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vPX"
_HATCHES = ("", "////", "....", "xxxx")
_NEITHER = "#FFFFFF"
_NAMED = 12
"""Up to so many layers, dots of the roofline bear names; of more, those that take the most cycles, numbers."""


def write_cost_figures(costs: Sequence[LayerCost], machine: Accelerator, folder: Path) -> list[Path]:
    """Writes ``energy``, ``utilization`` and ``roofline`` as PNG and SVG, and ``layers.csv`` with their numbers.

    Args:
        costs: The layers in the order they run, at least one.
        machine: The machine.
        folder: Where to; made if absent.

    Returns:
        The files.

    Raises:
        SpecError: A file cannot be written.
    """
    files = []
    folder.mkdir(parents=True, exist_ok=True)
    contents: list[tuple[str, str | bytes]] = [*cost_figure_files(costs, machine)]
    contents.append(("layers.csv", layers_csv(costs, machine)))
    for name, content in contents:
        try:
            write_atomically(folder / name, content)
        except RunError as error:
            raise SpecError(str(error).partition(";")[0], field="--figures") from None
        files.append(folder / name)
    return files


def cost_figure_files(costs: Sequence[LayerCost], machine: Accelerator) -> Iterator[tuple[str, bytes]]:
    """Yields (file name, content) of every figure, as PNG and SVG."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]  # keys are a Literal of 400 names
        # A layer's name is text, not mathematics.
        matplotlib.rcParams["text.parse_math"] = False
        yield from saved("energy", _energy(costs, machine))
        yield from saved("utilization", _utilization(costs, machine))
        yield from saved("roofline", _roofline(costs, machine))


def colour_of(part: str, machine: Accelerator) -> tuple[str, str]:
    """Returns colour and hatch of a memory, of ``compute`` or ``multipliers``, of ``leakage``, or of anything else.

    Memories beyond the seventh take the colours again, hatched.
    """
    names = [memory.name for memory in machine.memories]
    if part in names:
        around, index = divmod(names.index(part), len(MEMORIES))
        return MEMORIES[index], _HATCHES[around % len(_HATCHES)]
    if part in ("compute", MULTIPLIERS):
        return COMPUTE, ""
    return (LEAKAGE_COLOUR, "") if part == LEAKAGE else (_NEITHER, "\\\\\\\\")


# -- bars ------------------------------------------------------------------------------------------------------


def _bars(costs: Sequence[LayerCost], entries: int) -> tuple[Figure, Axes]:
    """A canvas with a row per layer, the first on top, and room for a legend of so many entries above."""
    from matplotlib.figure import Figure

    count = len(costs)
    row, size = (0.21, 8.0) if count <= 30 else (0.135, 6.0)
    height = min(1.0 + row * count + 0.2 * math.ceil(entries / 3), 250.0)
    figure = Figure(figsize=(6.6, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_yticks(range(count), [f"{_short(x.layer.name)}  {i + 1}" for i, x in enumerate(costs)], fontsize=size)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    return figure, axes


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:14]}…{name[-15:]}"


def _energy(costs: Sequence[LayerCost], machine: Accelerator) -> Figure:
    layers = [energy_parts([x], machine) for x in costs]
    whole = energy_parts(costs, machine)
    total = sum(whole.values())
    size, unit = energy_unit(max(x.total_energy_pj for x in costs))
    figure, axes = _bars(costs, len(whole))
    left = np.zeros(len(costs))
    for part, energy in whole.items():
        widths = np.array([own.get(part, 0.0) for own in layers]) / size
        colour, hatch = colour_of(part, machine)
        edge = "black" if colour == _NEITHER else "white"
        axes.barh(
            range(len(costs)), widths, left=left, height=0.78, color=colour, hatch=hatch, edgecolor=edge, linewidth=0,
            label=f"{part} {ratio(energy, total):.1%}",
        )  # fmt: skip
        left += widths
    axes.set_xlabel(f"Energy of the layer [{unit.replace('u', 'µ')}]")
    sum_size, sum_unit = energy_unit(total)
    _legend(axes, f"{machine.name}: {total / sum_size:.4g} {sum_unit.replace('u', 'µ')} in all, of which")
    return figure


def _legend(axes: Axes, title: str) -> None:
    handles, labels = axes.get_legend_handles_labels()
    widest = 0.6 * 8 * max(map(len, labels)) + 34  # points, with the handle and the gap
    columns = min(4, len(labels), max(1, int(72 * 6.4 / widest)))
    legend = axes.figure.legend(
        handles, labels, loc="outside upper center", ncols=columns, fontsize=8, handletextpad=0.4,
        columnspacing=1.4, title=title, title_fontsize=9,
    )  # fmt: skip
    legend.get_title().set_multialignment("center")


def _utilization(costs: Sequence[LayerCost], machine: Accelerator) -> Figure:
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import PercentFormatter

    names = bounds(costs, machine)
    figure, axes = _bars(costs, len(names))
    cycles = sum(x.cycles for x in costs)
    for name in names:
        rows = [i for i, x in enumerate(costs) if x.bound_by == name]
        share = sum(costs[i].cycles for i in rows) / cycles
        colour, hatch = colour_of(name, machine)
        axes.barh(
            rows, [costs[i].utilization for i in rows], height=0.78, color=colour, hatch=hatch, edgecolor="white",
            linewidth=0.3, label=f"bound by {name} ({share:.1%} of cycles)",
        )  # fmt: skip
    for i, x in enumerate(costs):
        axes.annotate(
            f"{x.utilization:.1%}", (x.utilization, i), xytext=(2, 0), textcoords="offset points", va="center",
            fontsize=6 if len(costs) <= 30 else 5, color="#555555", zorder=4,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        )  # fmt: skip
    mean = sum(x.layer.operations for x in costs) / (machine.pes * cycles)
    axes.axvline(mean, color="black", linewidth=0.9, linestyle="--", label=f"all layers: {100 * mean:.3g}%")
    most = max(x.utilization for x in costs)
    axes.set_xlim(0, 1.06 if most >= 0.5 else 1.12 * most)  # with room for the figure beside the bar
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(f"Utilization of the {machine.pes:,} multipliers")
    _legend(axes, machine.name)
    return figure


# -- roofline --------------------------------------------------------------------------------------------------


def _roofline(costs: Sequence[LayerCost], machine: Accelerator) -> Figure:
    from matplotlib.figure import Figure

    found = roofline(costs, machine)
    figure = Figure(figsize=(6.6, 4.6), layout="constrained")
    axes = figure.add_subplot()
    low, high = _span(found)
    _scales(axes, found, low, high)
    x = np.geomspace(low, high, 400)
    axes.plot(x, found.roof(x), color="black", linewidth=1.2, zorder=2)
    # A layer that moves nothing off chip stands at the right edge.
    places = np.where(np.isfinite(found.intensity), found.intensity, high / 1.08)
    share = np.array([x.cycles for x in costs]) / sum(x.cycles for x in costs)
    areas = 14 + 400 * share
    for name in bounds(costs, machine):
        rows = [i for i, cost in enumerate(costs) if cost.bound_by == name]
        axes.scatter(
            places[rows], found.rate[rows], s=areas[rows], color=colour_of(name, machine)[0],
            marker=_marker(name, machine), alpha=0.8, edgecolors="white", linewidths=0.6, zorder=3,
            label=f"bound by {name} ({len(rows)})",
        )  # fmt: skip
    _legend(axes, f"{machine.name}: area of a mark is the layer's share of the cycles" + _numbers_note(costs))
    for handle in figure.legends[0].legend_handles:
        handle.set_sizes([36.0])  # type: ignore[union-attr]  # of scatter plots, all are PathCollections
    figure.draw_without_rendering()  # places on the canvas are known only now
    labels = _Labels(axes)
    _name_roofs(labels, found, low, high)
    _name_layers(labels, costs, np.stack((places, found.rate, areas), axis=1))
    return figure


def _marker(name: str, machine: Accelerator) -> str:
    names = ["compute", *(memory.name for memory in machine.memories)]
    return _MARKERS[names.index(name) % len(_MARKERS)] if name in names else "*"


def _numbers_note(costs: Sequence[LayerCost]) -> str:
    return "" if len(costs) <= _NAMED else ",\nnumbers are layers in their order"


def _span(found: Roofline) -> tuple[float, float]:
    """Left and right end of the axis: all layers and the ridge, with room, at least a decade."""
    known = [float(i) for i in found.intensity if math.isfinite(i)]
    known += [found.ridge] if found.ridge > 0 else []
    known = known or [1.0]
    return min(known) / 2.5, max(known) * 4


def _scales(axes: Axes, found: Roofline, low: float, high: float) -> None:
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axes.set(xscale="log", yscale="log")
    axes.set_xlim(low, high)
    axes.set_ylim(0.3 * min(float(found.rate.min()), found.peak), 3.5 * found.peak)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axis.set_minor_formatter(NullFormatter())
    edge = "" if np.isfinite(found.intensity).all() else " (right edge: none)"
    axes.set_xlabel(f"Operations per byte of {found.memory} traffic{edge}")
    axes.set_ylabel("Operations per cycle")


_Box = tuple[float, float, float, float]
"""Left, bottom, right, top [pixel]."""


class _Labels:
    """Texts on drawn axes that do not cover each other.

    Args:
        axes: Drawn once, so that places on the canvas are known.
    """

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self._pixels = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]  # they have a figure
        self._taken: list[_Box] = []

    def avoid(self, x: float, y: float, area: float) -> None:
        """Keeps texts off a mark of an area [point2]."""
        at_x, at_y = self.axes.transData.transform((x, y))
        half = math.sqrt(area / math.pi) * self._pixels
        self._taken.append((at_x - half, at_y - half, at_x + half, at_y + half))

    def put(self, text: str, x: float, y: float, ways: Sequence[tuple[float, float]], size: float) -> bool:
        """Writes a text beside (x, y), the first way of ``ways`` (points right and up) for which there is room."""
        from matplotlib.patheffects import withStroke

        for right, up in ways:
            box = self._box(text, x, y, right, up, size)
            if self._free(box):
                self._taken.append(box)
                self.axes.annotate(
                    text, (x, y), xytext=(right, up), textcoords="offset points", ha="left" if right > 0 else "right",
                    va="center", fontsize=size, zorder=5,
                    path_effects=[withStroke(linewidth=2.0, foreground="white")],
                )  # fmt: skip
                return True
        return False

    def _box(self, text: str, x: float, y: float, right: float, up: float, size: float) -> _Box:
        at_x, at_y = self.axes.transData.transform((x, y))
        width, height = (0.58 * size * len(text) + 4.0) * self._pixels, 1.1 * size * self._pixels
        start = at_x + right * self._pixels - (0 if right > 0 else width)
        middle = at_y + up * self._pixels
        return start, middle - height / 2, start + width, middle + height / 2

    def _free(self, box: _Box) -> bool:
        frame = self.axes.bbox
        inside = frame.x0 <= box[0] and box[2] <= frame.x1 and frame.y0 <= box[1] and box[3] <= frame.y1
        return inside and not any(
            box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in self._taken
        )


def _name_roofs(labels: _Labels, found: Roofline, low: float, high: float) -> None:
    labels.put(f"{found.peak:,.0f} operations/cycle", high, found.peak, [(-4, 7)], 8)
    if math.isfinite(found.bandwidth) and found.ridge > low:
        start = max(low, labels.axes.get_ylim()[0] / found.bandwidth)
        for share in (0.5, 0.7, 0.9):
            place = start ** (1 - share) * found.ridge**share
            text = f"{found.memory}: {found.bandwidth:.3g} bytes/cycle"
            if labels.put(text, place, place * found.bandwidth, [(-8, 9), (-8, 14)], 8):
                return


def _name_layers(labels: _Labels, costs: Sequence[LayerCost], marks: NDArray[np.float64]) -> None:
    """Names layers beside their marks ``(layer, (x, y, area))``, those of most cycles first, where there is room."""
    groups: dict[tuple[str, str], list[int]] = {}
    for i, (x, y, _) in enumerate(marks):
        groups.setdefault((f"{x:.3g}", f"{y:.3g}"), []).append(i)
    for x, y, area in marks:
        labels.avoid(x, y, area)
    for rows in sorted(groups.values(), key=lambda rows: -sum(costs[i].cycles for i in rows)):
        names = [_short(costs[i].layer.name) if len(costs) <= _NAMED else str(i + 1) for i in rows]
        shown = 3 if len(costs) > _NAMED else 1
        text = ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
        x, y = marks[rows[0], :2]
        gap = 3 + math.sqrt(float(marks[rows, 2].max()) / math.pi)
        labels.put(text, x, y, [(gap, -2), (gap, -9), (-gap, 4), (-gap, 11), (gap, -16), (gap, 9), (-gap, -9)], 7)
