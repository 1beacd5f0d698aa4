"""Search guided by what is known: hardware exactly, the error as far as it was learnt.

A training is dear, a question to the cost model is not. So before any network is trained, an inner NSGA-II searches the
joint space with the hardware's objectives and constraints exact and the error predicted (`coevo.optim.error_model`), on
the optimistic side. Of the networks that it meets, those are trained from which the largest gain in hypervolume is to
be expected, together with their accelerators: greedily, one after the other, over joint draws of what all their errors
may be (S. Daulton, M. Balandat, E. Bakshy, "Parallel Bayesian Optimization of Multiple Noisy Objectives with Expected
Hypervolume Improvement", NeurIPS 2021, sec. 4), here with the other objectives known (outcomes told, as in R. Astudillo
and P. Frazier, "Bayesian Optimization of Composite Functions", ICML 2019).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from deap import base

from coevo import pareto
from coevo.optim.archive import Archive
from coevo.optim.error_model import ErrorModel
from coevo.optim.operators import bred, spread
from coevo.optim.unseen import Seen, first_of_equal
from coevo.protocols import Array, Problem
from coevo.space import Genomes

OPTIMISM = 1.0
"""Standard deviations by which the inner search takes errors to be better than expected."""
CANDIDATES = 256
"""Networks that the expected gain is computed for: those that would gain most if they were as good as hoped."""
DRAWS = 32
"""Joint draws of errors that the expectation is taken over."""
REFERENCE = 1.1
"""The hypervolume's reference point, of objectives that are scaled to 0..1 over the feasible designs."""
MOST_FREE = 64
"""Designs of networks trained before that are asked beside: they cost no training."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Feasible designs that the inner search met.

    Attributes:
        genomes: ``(design, gene)``, each once.
        values: ``(design, objective)``, the error optimistic or known.
        networks: Network of each design ``(design,)``.
    """

    genomes: Genomes
    values: Array
    networks: list[bytes]


class Box:
    """Scales objectives to 0..1 over feasible designs; costs by their logarithms where all are positive.

    Args:
        values: Of the designs ``(design, objective)``.
        unknown: The objective that is no cost.
        logarithmic: Whether to take logarithms at all.
    """

    def __init__(self, values: Array, unknown: int, logarithmic: bool) -> None:
        costs = np.arange(values.shape[1]) != unknown
        self._log = costs & (values > 0).all(axis=0) & logarithmic
        scaled = self._logged(values)
        self._low, span = scaled.min(axis=0), np.ptp(scaled, axis=0)
        self._span = np.where(span > 0, span, 1.0)

    def __call__(self, values: Array) -> Array:
        """Returns scaled values ``(design, objective)``."""
        return np.asarray((self._logged(values) - self._low) / self._span)

    def scaled(self, values: Array, objective: int) -> Array:
        """Returns scaled values of one objective that is not taken as a logarithm, of any shape."""
        return np.asarray((values - self._low[objective]) / self._span[objective])

    def _logged(self, values: Array) -> Array:
        logged = values.copy()
        logged[:, self._log] = np.log(np.maximum(values[:, self._log], np.finfo(np.float64).tiny))
        return logged


class Front:
    """Points that do not dominate each other, and their hypervolume.

    Args:
        points: ``(point, objective)``, scaled by a `Box`; dominated ones and those beyond the reference are left out.
    """

    def __init__(self, points: Array) -> None:
        points = points[(points < REFERENCE).all(axis=1)]
        self.points = points[pareto.nondominated(points, np.zeros(len(points)))] if len(points) else points
        self._reference = np.full(points.shape[1], REFERENCE)
        self._volume = pareto.hypervolume(self.points, self._reference)

    def gain(self, points: Array) -> float:
        """Returns the hypervolume that points ``(point, objective)`` add."""
        points = points[(points < REFERENCE).all(axis=1)]
        below = np.asarray((self.points[None, :, :] <= points[:, None, :]).all(axis=2))
        covered = below.any(axis=1)
        if covered.all():
            return 0.0
        together = np.concatenate([self.points, points[~covered]])
        return pareto.hypervolume(together, self._reference) - self._volume

    def joined(self, points: Array) -> Front:
        """Returns the front with points ``(point, objective)`` added."""
        return Front(np.concatenate([self.points, points]))


class GuidedSearch:
    """Proposes networks by what is expected of them.

    Args:
        problem: What is searched.
        unknown: The objective that only a training tells.
        model: Learns it.
        toolbox: ``choose``, ``mate``, ``mutate`` and ``select``.
        population: Of the inner search.
        generations: Of the inner search.
        logarithmic: Whether hypervolume is that of the costs' logarithms.
        rng: Source of all randomness.
    """

    def __init__(
        self,
        problem: Problem,
        unknown: int,
        model: ErrorModel,
        toolbox: base.Toolbox,
        *,
        population: int,
        generations: int,
        logarithmic: bool,
        rng: np.random.Generator,
    ) -> None:
        self._problem = problem
        self._unknown = unknown
        self._model = model
        self._toolbox = toolbox
        self._population = population
        self._generations = generations
        self._logarithmic = logarithmic
        self._rng = rng

    def propose(self, archive: Archive, seen: Seen, pending: Genomes, count: int) -> tuple[Genomes, Genomes]:
        """Returns designs to ask for.

        Args:
            archive: What is known: at least two networks' errors.
            seen: Designs asked for or told.
            pending: Designs asked for and not told yet ``(pending, gene)``.
            count: Networks to train.

        Returns:
            One design of each network to be trained ``(at most count, gene)``, the most promising first; and new
            designs of networks known already that would be on the front ``(free, gene)``.
        """
        measured = archive.measured()
        rows = list(measured.values())
        errors = dict(zip(measured, archive.values[rows, self._unknown].tolist(), strict=True))
        allowed = self._problem.hardware(archive.genomes)[1] == 0
        failed = archive.failed(allowed)
        self._model.fit(archive.genomes[rows], archive.values[rows, self._unknown], archive.genomes[[*failed.values()]])
        pool = self._explore(archive, errors)
        box = Box(archive.values[archive.violation == 0], self._unknown, self._logarithmic)
        front = Front(box(archive.values[archive.violation == 0]))
        waiting = archive.network_keys(pending)
        closed = {*measured, *failed, *waiting}
        chosen = self._choose(pool, box, front, pending, closed, count)
        return chosen, self._free(pool, box, front, errors, seen)

    # -- the inner search --------------------------------------------------------------------------------------

    def _explore(self, archive: Archive, errors: Mapping[bytes, float]) -> Pool:
        """Searches with predicted errors, from the front and designs spread over the space."""
        feasible = archive.violation == 0
        best = self._toolbox.select(archive.values[feasible], archive.violation[feasible], self._population // 2)
        genomes = np.concatenate(
            [archive.genomes[feasible][best], spread(self._problem.space, self._population - len(best), self._rng)]
        )
        genomes = genomes[first_of_equal(genomes)]
        values, violation = self._score(genomes, archive, errors)
        met = [(genomes, values, violation)]
        for _ in range(self._generations):
            children = self._children(genomes, values, violation)
            scored = children, *self._score(children, archive, errors)
            met.append(scored)
            together = [np.concatenate(parts) for parts in zip((genomes, values, violation), scored, strict=True)]
            first = first_of_equal(together[0])
            genomes, values, violation = (part[first] for part in together)
            survivors = self._toolbox.select(values, violation, self._population)
            genomes, values, violation = genomes[survivors], values[survivors], violation[survivors]
        genomes, values, violation = (np.concatenate(parts) for parts in zip(*met, strict=True))
        rows = [row for row in first_of_equal(genomes) if violation[row] == 0]
        return Pool(genomes[rows], values[rows], archive.network_keys(genomes[rows]))

    def _score(self, genomes: Genomes, archive: Archive, errors: Mapping[bytes, float]) -> tuple[Array, Array]:
        """Figures of genomes ``(batch, gene)``: the hardware's exact, the error known or optimistic."""
        values, violation = self._problem.hardware(genomes)
        values = values.copy()
        keys = archive.network_keys(genomes)
        values[:, self._unknown] = [errors.get(key, np.nan) for key in keys]
        guessed = np.isnan(values[:, self._unknown]) & (violation == 0)
        values[guessed, self._unknown] = self._model.bound(genomes[guessed], -OPTIMISM)
        values[violation > 0] = 0.0
        return values, violation

    def _children(self, genomes: Genomes, values: Array, violation: Array) -> Genomes:
        """Breeds as many canonical genomes as the inner population holds."""
        parents = self._toolbox.choose(values, violation, 2 * ((self._population + 1) // 2))
        mothers, fathers = np.split(genomes[parents], 2)
        mate, mutate = self._toolbox.mate, self._toolbox.mutate
        return bred(mothers, fathers, space=self._problem.space, mate=mate, mutate=mutate, rng=self._rng)

    # -- what to ask for ---------------------------------------------------------------------------------------

    def _choose(self, pool: Pool, box: Box, front: Front, pending: Genomes, closed: set[bytes], count: int) -> Genomes:
        """Returns one design of each of the networks that promise most ``(at most count, gene)``."""
        designs: dict[bytes, list[int]] = {}
        for row, key in enumerate(pool.networks):
            if key not in closed:
                designs.setdefault(key, []).append(row)
        points = box(pool.values)
        groups = [_cheapest(rows, points, self._unknown) for rows in designs.values()]
        hoped = np.array([front.gain(points[rows]) for rows in groups])
        likely = np.argsort(-hoped, kind="stable")[:CANDIDATES]
        groups = [groups[i] for i in likely]
        if not groups:
            return pool.genomes[:0]
        waiting = self._waiting(pending)
        genomes = np.concatenate([pool.genomes[[rows[0] for rows in groups]], waiting])
        draws = box.scaled(self._model.draws(genomes, DRAWS), self._unknown)
        success = self._model.success(genomes)
        expected = _Expected(front, draws, points, self._unknown, success)
        if len(waiting):
            costs = box(self._known(waiting))
            for i in range(len(waiting)):
                expected.take(costs[i : i + 1], len(groups) + i)
        chosen = _greedy(groups, expected, min(count, len(groups)))
        return pool.genomes[[groups[i][0] for i in chosen]]

    def _waiting(self, pending: Genomes) -> Genomes:
        """Those of the designs under way that hardware allows."""
        return pending[self._problem.hardware(pending)[1] == 0] if len(pending) else pending

    def _known(self, genomes: Genomes) -> Array:
        """The hardware's figures, the error expected."""
        values = self._problem.hardware(genomes)[0].copy()
        values[:, self._unknown] = self._model.bound(genomes, 0.0)
        return values

    def _free(self, pool: Pool, box: Box, front: Front, errors: Mapping[bytes, float], seen: Seen) -> Genomes:
        """Returns new designs of known networks that no design told dominates ``(free, gene)``, the best first."""
        rows = [row for row, key in enumerate(pool.networks) if key in errors and not seen.has(pool.genomes[row])]
        points = box(pool.values[rows])
        gains = np.array([front.gain(points[i : i + 1]) for i in range(len(rows))])
        order = np.argsort(-gains, kind="stable")[: min(MOST_FREE, int(np.count_nonzero(gains > 0)))]
        return pool.genomes[[rows[i] for i in order]]


class _Expected:
    """The hypervolume that networks are expected to add, over draws of their errors."""

    def __init__(self, front: Front, draws: Array, points: Array, unknown: int, success: Array) -> None:
        self._fronts = [front] * len(draws)
        self._draws = draws
        self._points = points
        self._unknown = unknown
        self._success = success

    def of(self, rows: list[int], network: int) -> float:
        """Returns the mean gain of a network's designs, given what was taken before."""
        points = self._points[rows].copy()
        gains = 0.0
        for front, error in zip(self._fronts, self._draws[:, network], strict=True):
            points[:, self._unknown] = error
            gains += front.gain(points)
        return gains * float(self._success[network]) / len(self._fronts)

    def take(self, points: Array, network: int) -> None:
        """Adds a network's designs ``(design, objective)`` to every draw's front, with that draw's error."""
        for i, error in enumerate(self._draws[:, network]):
            drawn = points.copy()
            drawn[:, self._unknown] = error
            self._fronts[i] = self._fronts[i].joined(drawn)

    def take_rows(self, rows: list[int], network: int) -> None:
        """Adds a network of the pool."""
        self.take(self._points[rows], network)


def _greedy(groups: list[list[int]], expected: _Expected, count: int) -> list[int]:
    """Takes the networks that add most, one after the other.

    What a network adds only falls as others are taken, so that a gain computed earlier is a bound, and most need not be
    computed again (M. Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978).
    """
    heap = [(-expected.of(rows, i), i, 0) for i, rows in enumerate(groups)]
    heapq.heapify(heap)
    chosen: list[int] = []
    while len(chosen) < count:
        _, i, when = heapq.heappop(heap)
        if when == len(chosen):
            chosen.append(i)
            expected.take_rows(groups[i], i)
        else:
            heapq.heappush(heap, (-expected.of(groups[i], i), i, len(chosen)))
    return chosen


def _cheapest(rows: list[int], points: Array, unknown: int) -> list[int]:
    """Those of one network's designs that no other beats in the objectives that hardware decides."""
    if len(rows) == 1:
        return rows
    costs = np.delete(points[rows], unknown, axis=1)
    return [row for row, good in zip(rows, pareto.nondominated(costs, np.zeros(len(rows))), strict=True) if good]
