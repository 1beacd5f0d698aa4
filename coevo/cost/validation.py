"""Holds the cost model against a reference: every figure that a record gives beside ours.

Counts are compared as Timeloop prints them, in whole words: fills of weights and inputs cut off, all others rounded
half up. Energies are compared as they are; Timeloop charges an instance's accesses in whole blocks, which coevo does
not (`coevo.cost.price`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from coevo.cost.detail import Analysis, access_energies, analyse, cost_of
from coevo.cost.price import level_instances
from coevo.cost.reference import Case
from coevo.cost.reference_form import TENSORS, LevelFigures, NetworkFigures
from coevo.design import LayerCost
from coevo.workload import OPERANDS

ACCESSES = ("tile words", "reads", "fills", "updates")
"""The quantities of which a record's access counts consist."""

CLOSE = 1e-3
"""Relative error up to which cycles and energy count as right."""


@dataclass(frozen=True)
class Comparison:
    """One figure of a record beside ours.

    Attributes:
        quantity: What it is of.
        place: Level or network, and tensor; empty for the whole layer.
        ours, theirs: The figures.
        equal: Whether they are the same, to the precision that they are given in.
    """

    quantity: str
    place: str
    ours: float
    theirs: float
    equal: bool

    @property
    def error(self) -> float:
        """Relative error; of less than one word, cycle or picojoule, as if it were one."""
        return abs(self.ours - self.theirs) / max(abs(self.theirs), 1.0)


@dataclass(frozen=True)
class Judged:
    """A record with all its comparisons."""

    case: Case
    comparisons: tuple[Comparison, ...]

    def of(self, *quantities: str) -> list[Comparison]:
        """The comparisons of these quantities."""
        return [one for one in self.comparisons if one.quantity in quantities]

    @property
    def worst(self) -> Comparison:
        """The comparison with the largest relative error."""
        return max(self.comparisons, key=lambda one: one.error)


@dataclass
class Tally:
    """How well one quantity agrees over all records.

    Attributes:
        figures: Comparisons.
        equal: Those that are equal.
        close: Those within `CLOSE`.
        mean_error: Mean relative error.
        worst_error: Largest.
    """

    figures: int = 0
    equal: int = 0
    close: int = 0
    total_error: float = field(default=0.0, repr=False)
    worst_error: float = 0.0

    @property
    def mean_error(self) -> float:
        """Mean relative error."""
        return self.total_error / self.figures

    def add(self, one: Comparison) -> None:
        """Counts one comparison."""
        self.figures += 1
        self.equal += one.equal
        self.close += one.error <= CLOSE
        self.total_error += one.error
        self.worst_error = max(self.worst_error, one.error)


@dataclass(frozen=True)
class Validation:
    """All records of a reference, judged."""

    records: tuple[Judged, ...]

    def share(self, *quantities: str, exactly: bool) -> float | None:
        """Share of the records in which all figures of these quantities are equal, or within `CLOSE`.

        Of the records that give any; None if none does.
        """
        given = [found for record in self.records if (found := record.of(*quantities))]
        good = [all(one.equal if exactly else one.error <= CLOSE for one in found) for found in given]
        return sum(good) / len(good) if good else None

    @property
    def accesses_equal(self) -> float | None:
        """Share of the records whose access counts are all equal."""
        return self.share(*ACCESSES, exactly=True)

    @property
    def cycles_close(self) -> float | None:
        """Share of the records whose cycles are within `CLOSE`."""
        return self.share("cycles", exactly=False)

    @property
    def energy_close(self) -> float | None:
        """Share of the records whose energy is within `CLOSE`."""
        return self.share("energy", exactly=False)

    def tallies(self) -> dict[str, Tally]:
        """How well each quantity agrees, in the order in which they are compared."""
        result: dict[str, Tally] = {}
        for record in self.records:
            for one in record.comparisons:
                result.setdefault(one.quantity, Tally()).add(one)
        return result

    def worst(self, count: int) -> list[tuple[Judged, Comparison]]:
        """The records with the largest errors, and the figure that is furthest off in each."""
        wrong = [(record, record.worst) for record in self.records if record.worst.error > 0]
        return sorted(wrong, key=lambda pair: -pair[1].error)[:count]


def validate(cases: Sequence[Case]) -> Validation:
    """Evaluates every record with the cost model.

    Raises:
        SpecError: A mapping does not fit its layer or machine.
    """
    return Validation(tuple(Judged(case, tuple(_comparisons(case))) for case in cases))


def _comparisons(case: Case) -> Iterator[Comparison]:
    try:
        analysis = analyse(case.layer, case.machine, case.mapping)
    except ValueError as error:
        raise case.error(str(error), "mapping") from None
    _check_capacity(case, analysis)
    cost = cost_of(analysis)
    record = case.record
    yield from _figure("cycles", "", cost.cycles, record.cycles)
    yield from _figure("compute cycles", "", cost.compute_cycles, record.compute_cycles)
    yield from _figure("operations", "", case.layer.operations, record.macs)
    yield from _energy("energy", "", cost.total_energy_pj, record.energy_pj)
    yield from _energy("multiplier energy", "", cost.mac_energy_pj, record.mac_energy_pj)
    for i, level in enumerate(case.levels):
        if level.name in record.levels:
            yield from _level(i, level.name, record.levels[level.name], analysis, cost)
    for key, tensors in record.networks.items():
        i = [level.name for level in case.levels].index(key.split(" <==> ")[0])
        for tensor, figures in tensors.items():
            yield from _network(i, TENSORS[tensor], f"{key} {tensor}", figures, analysis)


def _check_capacity(case: Case, analysis: Analysis) -> None:
    for i, level in enumerate(case.levels):
        needed = sum(words.tile for (memory, _), words in analysis.moved.items() if memory == i)
        if needed > level.usable_words:
            problem = (
                f"{level.name} needs {needed:.0f} words for its tiles and has {level.usable_words:.0f}; a level without"
            )
            raise case.error(f"{problem} capacity_words is not checked", "mapping")


def _level(i: int, name: str, figures: LevelFigures, analysis: Analysis, cost: LayerCost) -> Iterator[Comparison]:
    batch = analysis.batch
    instances = float(level_instances(batch, analysis.nest)[i])
    energies = access_energies(analysis)[i]
    leak = float(batch.machines.leakage_pj[i]) * instances * cost.cycles
    cycles = math.ceil(max(cost.compute_cycles, cost.memory_cycles[i]))
    for tensor, known in figures.ds.items():
        operand, place = TENSORS[tensor], f"{name} {tensor}"
        words = analysis.moved.get((i, operand))
        reads, fills, updates, tile = (words.reads, words.fills, words.updates, words.tile) if words else (0.0,) * 4
        fills = _cut(fills) if operand != "outputs" else _half_up(fills)
        yield from _figure("tile words", place, tile, known.tile_words)
        yield from _figure("reads", place, _half_up(reads), known.reads)
        yield from _figure("fills", place, fills, known.fills)
        yield from _figure("updates", place, _half_up(updates), known.updates)
        yield from _figure("instances", place, instances, known.instances)
        yield from _energy(
            "energy by level and tensor", place, float(energies[OPERANDS.index(operand)]), known.energy_pj
        )
    yield from _figure("cycles by level", name, cycles, figures.cycles)
    yield from _energy("leakage", name, leak, figures.leak_pj)
    yield from _energy("energy by level", name, float(energies.sum()) + leak, figures.energy_pj)


def _network(i: int, operand: str, place: str, figures: NetworkFigures, analysis: Analysis) -> Iterator[Comparison]:
    carried = analysis.carried.get((i, operand))
    lanes, ingresses, passed, reductions, energy = (
        (carried.lanes, carried.ingresses, carried.passed, carried.reductions, carried.energy_pj)
        if carried
        else (None, 0.0, 0.0, 0.0, 0.0)
    )
    entering = None if figures.ingresses is None else sum(words for _, _, words in figures.ingresses)
    spent = None if figures.energy_pj is None else figures.energy_pj + figures.link_energy_pj
    if lanes is not None:
        yield from _figure("lanes", place, lanes, figures.fanout)
    yield from _words("ingresses", place, ingresses, entering)
    yield from _words("link transfers", place, passed, figures.link_transfers)
    yield from _words("spatial reductions", place, reductions, figures.spatial_reductions)
    yield from _energy("network energy", place, energy, spent)


def _half_up(words: float) -> float:
    return math.floor(words + 0.5)


def _cut(words: float) -> float:
    return math.floor(words)


def _figure(quantity: str, place: str, ours: float, theirs: float | None) -> Iterator[Comparison]:
    """A whole number: equal is equal."""
    if theirs is not None:
        yield Comparison(quantity, place, float(ours), theirs, float(ours) == theirs)


def _words(quantity: str, place: str, ours: float, theirs: float | None) -> Iterator[Comparison]:
    """Words that are averages over instances: equal if less than a word, or a millionth, apart."""
    if theirs is not None:
        yield Comparison(quantity, place, ours, theirs, abs(ours - theirs) < max(1.0, 1e-6 * theirs))


def _energy(quantity: str, place: str, ours: float, theirs: float | None) -> Iterator[Comparison]:
    """An energy [pJ], which is a sum of figures that are printed to a hundredth: equal to five digits or a tenth."""
    if theirs is not None:
        yield Comparison(quantity, place, ours, theirs, abs(ours - theirs) <= max(0.1, 1e-5 * theirs))
