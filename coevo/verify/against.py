"""Scores the designs of a front with Timeloop and sets its figures beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from coevo.design import FrontDesign
from coevo.errors import BackendError
from coevo.timeloop.form import Form
from coevo.timeloop.process import Timeloop
from coevo.timeloop.stats import Stats
from coevo.verify.seen import SeenDesign, SeenLayer, seen_designs


@dataclass(frozen=True)
class Figures:
    """Cycles and energy of a layer or a design, by whom: coevo, Timeloop on our mapping, Timeloop on its mapper's.

    Attributes:
        cycles, energy_pj: Ours, under Timeloop's conventions.
        timeloop_cycles, timeloop_energy_pj: Timeloop's, of the same mapping.
        mapper_cycles, mapper_energy_pj: Of the mapping that Timeloop's mapper found; None if it was not asked.
    """

    cycles: float
    energy_pj: float
    timeloop_cycles: float
    timeloop_energy_pj: float
    mapper_cycles: float | None = None
    mapper_energy_pj: float | None = None

    @property
    def cycles_deviation(self) -> float:
        """How far our cycles are from Timeloop's, relative."""
        return self.cycles / self.timeloop_cycles - 1

    @property
    def energy_deviation(self) -> float:
        """How far our energy is from Timeloop's, relative."""
        return self.energy_pj / self.timeloop_energy_pj - 1

    @property
    def mapper_edp(self) -> float | None:
        """Energy x delay of the mapper's mapping over ours, both by Timeloop; None if it was not asked."""
        if self.mapper_cycles is None or self.mapper_energy_pj is None:
            return None
        return self.mapper_cycles * self.mapper_energy_pj / (self.timeloop_cycles * self.timeloop_energy_pj)


@dataclass(frozen=True)
class Verdict:
    """What Timeloop says of a design on one machine.

    Attributes:
        design: The design.
        layers: Figures of each kind of layer, in the design's order; None if any failed.
        failure: Why there are none, naming layer and design; empty if all went well.
    """

    design: SeenDesign
    layers: tuple[Figures, ...] | None
    failure: str = ""

    @property
    def total(self) -> Figures | None:
        """Figures of all layers together; None where the design multiplies nothing or Timeloop failed."""
        if not self.layers:
            return None
        counted = [(layer.count, found) for layer, found in zip(self.design.layers, self.layers, strict=True)]

        def of(name: str) -> float:
            return float(sum(count * getattr(found, name) for count, found in counted))

        names = ("cycles", "energy_pj", "timeloop_cycles", "timeloop_energy_pj")
        searched = self.layers[0].mapper_cycles is not None
        mapped = [of("mapper_cycles"), of("mapper_energy_pj")] if searched else []
        return Figures(*(of(name) for name in names), *mapped)

    @property
    def furthest(self) -> SeenLayer | None:
        """The layer whose cycles or energy are furthest apart; None if Timeloop failed."""
        if not self.layers:
            return None
        apart = [max(abs(x.cycles_deviation), abs(x.energy_deviation)) for x in self.layers]
        return self.design.layers[apart.index(max(apart))]


def verify(designs: Sequence[FrontDesign], timeloop: Timeloop, *, mapper: bool = False, jobs: int = 1) -> list[Verdict]:
    """Scores designs with Timeloop; layers that occur in several are scored once.

    Args:
        designs: Of a front.
        timeloop: How it is called.
        mapper: Whether its own mapper is to search each layer too.
        jobs: Calls at a time.

    Raises:
        SpecError: A layer cannot be told to Timeloop.
    """
    seen = [one for design in designs for one in seen_designs(design)]
    wanted: dict[object, tuple[SeenLayer, str]] = {}
    for design in seen:
        for layer in design.layers:
            wanted.setdefault(_key(layer), (layer, f"design {design.label}, layer {layer.name}"))

    def score(pair: tuple[SeenLayer, str]) -> Figures | BackendError:
        return _score(pair[0], pair[1], timeloop, mapper)

    with ThreadPoolExecutor(jobs) as pool:
        known = dict(zip(wanted, pool.map(score, wanted.values()), strict=True))
    return [_verdict(design, [known[_key(layer)] for layer in design.layers]) for design in seen]


def _verdict(design: SeenDesign, found: Sequence[Figures | BackendError]) -> Verdict:
    figures = []
    for one in found:
        if isinstance(one, BackendError):
            return Verdict(design, None, str(one))
        figures.append(one)
    return Verdict(design, tuple(figures))


def _key(layer: SeenLayer) -> object:
    return layer.form.layer.shape_key, layer.form.machine.key, layer.form.mapping


def _score(layer: SeenLayer, about: str, timeloop: Timeloop, mapper: bool) -> Figures | BackendError:
    """Figures of one layer, or why there are none: one failure must not hide the other designs."""
    try:
        theirs = timeloop.model(layer.form, about)
        searched = _searched(layer.form, about, timeloop) if mapper else None
    except BackendError as error:
        return error
    figures = Figures(layer.ours.cycles, layer.ours.total_energy_pj, theirs.cycles, theirs.energy_pj)
    if searched is None:
        return figures
    return Figures(
        figures.cycles, figures.energy_pj, theirs.cycles, theirs.energy_pj, searched.cycles, searched.energy_pj
    )


def _searched(form: Form, about: str, timeloop: Timeloop) -> Stats:
    """What Timeloop's model says of its mapper's mapping."""
    plain = Form(form.layer, form.machine, form.mac_energy_pj)
    return timeloop.model(timeloop.mapper(plain, about), about)
