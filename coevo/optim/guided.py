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

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from deap import base

from coevo import pareto
from coevo.optim.archive import Archive
from coevo.optim.error_model import ErrorModel, hoped
from coevo.optim.expected_gain import Front, Rows, greedy
from coevo.optim.operators import bred, spread, standing
from coevo.optim.ranges import Range
from coevo.optim.unseen import Seen, first_of_equal
from coevo.protocols import Array, Problem
from coevo.space import Genomes

CANDIDATES = 256
"""Networks that the expected gain is computed for: those that would gain most if they were as good as hoped."""
DRAWS = 32
"""Joint draws of errors that the expectation is taken over."""
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
        known = archive.known()
        self._model.learn(archive, self._unknown)
        pool = self._explore(archive, known)
        told = archive.values[archive.violation == 0]
        scale = Range(told.shape[1], (np.arange(told.shape[1]) != self._unknown) & self._logarithmic)
        scale.add(told)
        front = Front(scale.scaled(told))
        closed = {*known, *archive.failed(), *archive.network_keys(pending)}
        chosen = self._choose(pool, scale, front, pending, closed, count)
        return chosen, self._free(pool, scale, front, known, seen)

    # -- the inner search --------------------------------------------------------------------------------------

    def _explore(self, archive: Archive, known: Mapping[bytes, Array]) -> Pool:
        """Searches with predicted errors, from the front and designs spread over the space."""
        feasible = archive.violation == 0
        best = self._toolbox.select(archive.values[feasible], archive.violation[feasible], self._population // 2)
        genomes = np.concatenate(
            [archive.genomes[feasible][best], spread(self._problem.space, self._population - len(best), self._rng)]
        )
        genomes = genomes[first_of_equal(genomes)]
        values, violation = self._score(genomes, archive, known)
        met = [(genomes, values, violation)]
        for _ in range(self._generations):
            children = self._children(genomes, values, violation)
            scored = children, *self._score(children, archive, known)
            met.append(scored)
            together = [np.concatenate(parts) for parts in zip((genomes, values, violation), scored, strict=True)]
            first = first_of_equal(together[0])
            genomes, values, violation = (part[first] for part in together)
            survivors = self._toolbox.select(values, violation, self._population)
            genomes, values, violation = genomes[survivors], values[survivors], violation[survivors]
        genomes, values, violation = (np.concatenate(parts) for parts in zip(*met, strict=True))
        rows = [row for row in first_of_equal(genomes) if violation[row] == 0]
        return Pool(genomes[rows], values[rows], archive.network_keys(genomes[rows]))

    def _score(self, genomes: Genomes, archive: Archive, known: Mapping[bytes, Array]) -> tuple[Array, Array]:
        """Figures of genomes ``(batch, gene)``: the hardware's exact, the error known or optimistic."""
        return hoped(self._problem, archive, known, {self._unknown: self._model}, genomes)

    def _children(self, genomes: Genomes, values: Array, violation: Array) -> Genomes:
        """Breeds as many canonical genomes as the inner population holds."""
        parents = self._toolbox.choose(*standing(values, violation), 2 * ((self._population + 1) // 2))
        mothers, fathers = np.split(genomes[parents], 2)
        mate, mutate = self._toolbox.mate, self._toolbox.mutate
        return bred(mothers, fathers, space=self._problem.space, mate=mate, mutate=mutate, rng=self._rng)

    # -- what to ask for ---------------------------------------------------------------------------------------

    def _choose(
        self, pool: Pool, scale: Range, front: Front, pending: Genomes, closed: set[bytes], count: int
    ) -> Genomes:
        """Returns one design of each of the networks that promise most ``(at most count, gene)``."""
        rows: dict[bytes, list[int]] = {}
        for row, key in enumerate(pool.networks):
            if key not in closed:
                rows.setdefault(key, []).append(row)
        if not rows:
            return pool.genomes[:0]
        points = scale.scaled(pool.values)
        groups = [_cheapest(of, points, self._unknown) for of in rows.values()]
        hoped = np.array([front.gain(points[of]) for of in groups])
        groups = [groups[i] for i in np.argsort(-hoped, kind="stable")[:CANDIDATES]]
        waiting = pending[self._problem.hardware(pending)[1] == 0] if len(pending) else pending
        genomes = np.concatenate([pool.genomes[[of[0] for of in groups]], waiting])
        costs = scale.scaled(self._problem.hardware(waiting)[0])
        draws = np.full((DRAWS, len(genomes), points.shape[1]), np.nan)
        draws[:, :, self._unknown] = self._model.draws(genomes, DRAWS)
        gain = PairedGain(
            front,
            [*(points[of] for of in groups), *costs[:, None, :]],
            scale.scaled(draws)[:, :, self._unknown],
            self._unknown,
            self._model.success(genomes),
        )
        for i in range(len(groups), len(genomes)):
            gain.take(i)
        chosen = greedy(gain, np.arange(len(groups)), min(count, len(groups)))
        return pool.genomes[[groups[i][0] for i in chosen]]

    def _free(self, pool: Pool, scale: Range, front: Front, known: Mapping[bytes, Array], seen: Seen) -> Genomes:
        """Returns new designs of known networks that no design told dominates ``(free, gene)``, the best first."""
        rows = [row for row, key in enumerate(pool.networks) if key in known and not seen.has(pool.genomes[row])]
        points = scale.scaled(pool.values[rows])
        gains = np.array([front.gain(points[i : i + 1]) for i in range(len(rows))])
        order = np.argsort(-gains, kind="stable")[: min(MOST_FREE, int(np.count_nonzero(gains > 0)))]
        return pool.genomes[[rows[i] for i in order]]


class PairedGain:
    """The hypervolume that networks with all their accelerators are expected to add, over draws of their errors.

    Args:
        front: What is known.
        designs: Scaled objectives of each network's designs ``(design, objective)``; the unknown one is not read.
        draws: The unknown objective, scaled ``(draw, network)``.
        unknown: Which it is.
        success: How likely each network's training is to give a value ``(network,)``.
    """

    def __init__(self, front: Front, designs: list[Array], draws: Array, unknown: int, success: Array) -> None:
        self._fronts = [front] * len(draws)
        self._designs = designs
        self._draws = draws
        self._unknown = unknown
        self._success = success

    def of(self, rows: Rows) -> Array:
        """Returns the mean gain over all draws, of each network ``(row,)``, given what was taken before."""
        return np.array([self._of_one(row) for row in rows.tolist()])

    def take(self, row: int) -> None:
        """Adds a network's designs to every draw's front, with that draw's error."""
        self._fronts = [
            front.joined(self._drawn(row, error))
            for front, error in zip(self._fronts, self._draws[:, row], strict=True)
        ]

    def _of_one(self, row: int) -> float:
        pairs = zip(self._fronts, self._draws[:, row], strict=True)
        gain = sum(front.gain(self._drawn(row, error)) for front, error in pairs)
        return gain * float(self._success[row]) / len(self._fronts)

    def _drawn(self, row: int, error: float) -> Array:
        points = self._designs[row].copy()
        points[:, self._unknown] = error
        return points


def _cheapest(rows: list[int], points: Array, unknown: int) -> list[int]:
    """Those of one network's designs that no other beats in the objectives that hardware decides."""
    if len(rows) == 1 or points.shape[1] == 1:
        return rows[:1]
    costs = np.delete(points[rows], unknown, axis=1)
    return [row for row, good in zip(rows, pareto.nondominated(costs, np.zeros(len(rows))), strict=True) if good]
