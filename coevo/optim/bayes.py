"""Bayesian optimisation with BoTorch: the model-based baseline.

Gaussian processes learn the objectives and, where designs turned out infeasible, the constraints; of a pool of
designs (children of the front's, and random ones) those are proposed that promise the largest gain
(`coevo.optim.surrogate`).

``hardware: learnt`` is Bayesian optimisation as it is mostly used: every objective is a black box. ``hardware:
known`` takes from the cost model what it says exactly, leaves out what it rules out, and learns the rest as a
function of the network: the composite setting of R. Astudillo and P. Frazier, "Bayesian Optimization of Composite
Functions", ICML 2019.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from coevo.errors import BackendError
from coevo.optim.archive import Archive
from coevo.optim.contained import contained
from coevo.optim.expected_gain import suggest
from coevo.optim.operators import blocks, bred, mate, mutate, select, spread
from coevo.optim.proposals import propose
from coevo.optim.ranges import Range
from coevo.optim.unseen import Seen, check_told
from coevo.protocols import Array, Problem
from coevo.space import Genomes, Space

LEAST_FEASIBLE = 4
"""Feasible designs that must be known before anything is learnt."""
PARENTS = 50
"""Designs told that the pool's children come from: the front first."""
ROUNDS = 4
"""Rounds in which the pool is filled up where hardware rules much out."""


class BayesSettings(BaseModel):
    """Settings of Bayesian optimisation.

    Attributes:
        acquisition: ``qlognehvi``: what a batch adds to the hypervolume, in expectation; ``qparego``: each of its
            designs improves another random weighting of the objectives (augmented Tchebycheff).
        hardware: ``known``: the cost model's objectives and constraints are exact, the others are learnt from the
            network; ``learnt``: all are learnt from all genes.
        batch: Designs per ask.
        initial: Designs, spread over the space, that are asked for before any is chosen by what was learnt.
        pool: Designs that a batch is chosen from.
        draws: Joint draws from the posterior that expectations are taken over.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    acquisition: Literal["qlognehvi", "qparego"] = "qlognehvi"
    hardware: Literal["known", "learnt"] = "known"
    batch: int = Field(default=8, ge=1, le=1024)
    initial: int = Field(default=20, ge=1, le=65536)
    pool: int = Field(default=1024, ge=1, le=8192)
    draws: int = Field(default=32, ge=1, le=1024)


class Bayes:
    """Proposes designs by what is expected of them.

    Designs that were asked for and not told yet count with what they may turn out to be.

    Args:
        problem: What to search.
        settings: Its settings.
        rng: Source of all its randomness.

    Raises:
        BackendError: BoTorch is not installed.
    """

    Settings: ClassVar[type[BaseModel]] = BayesSettings

    def __init__(self, problem: Problem, settings: BayesSettings, rng: np.random.Generator) -> None:
        with contained(rng):
            try:
                import botorch  # noqa: F401
            except ImportError as error:
                problem_line = "the optimiser bayes needs the package botorch: pip install 'coevo[bayes]'"
                raise BackendError(problem_line) from error
            from coevo.optim.surrogate import Surrogates
        self._problem = problem
        self._settings = settings
        self._rng = rng
        self._seen = Seen(problem.space)
        self._archive = Archive(problem)
        self._range = Range(len(problem.objectives))
        self._pending: dict[bytes, Genomes] = {}
        self._surrogates = Surrogates()
        self._blocks = blocks(problem.space)

    def ask(self) -> Genomes:
        """Returns canonical genomes ``(batch, gene)`` never asked for or told; fewer only if there are no more."""
        count = self._settings.batch
        lacking = self._settings.initial - len(self._archive.genomes) - len(self._pending)
        feasible = int(np.count_nonzero(self._archive.violation == 0))
        if self._seen.exhausted:
            return self._seen.draw(self._rng, 0)
        if lacking > 0 or feasible < LEAST_FEASIBLE:
            chosen = self._first(min(count, lacking) if lacking > 0 else count)
        else:
            with contained(self._rng):
                chosen = self._suggest(count)
            chosen = np.concatenate([chosen, self._first(count - len(chosen))])
        self._pending |= {row.tobytes(): row for row in chosen}
        return chosen

    def tell(self, genomes: Genomes, values: Array, violation: Array) -> None:
        """Takes in what is now known, of designs asked for or not.

        Args:
            genomes: ``(batch, gene)``, canonical. Of a design told twice the first figures count.
            values: ``(batch, objective)``, minimised; rows with violation > 0 are not read.
            violation: ``(batch,)``, 0 if feasible.

        Raises:
            ValueError: As `check_told`.
        """
        values, violation = check_told(self._problem, genomes, values, violation)
        self._seen.add(genomes)
        self._archive.add(genomes, values, violation)
        self._range.add(values[violation == 0])
        for row in genomes:
            self._pending.pop(row.tobytes(), None)

    # -- what to choose from -----------------------------------------------------------------------------------

    def _first(self, count: int) -> Genomes:
        """Returns new designs spread over the space ``(count, gene)``, noted; those that hardware allows first."""
        screen = self._settings.hardware == "known"

        def source(number: int) -> Genomes:
            return spread(self._problem.space, number, self._rng)

        return propose(self._problem, self._seen, count, source, hardware_screen=screen, rng=self._rng)

    def _ruled_out(self, genomes: Genomes) -> Array:
        """Violation of the constraints that hardware decides ``(design,)``; all 0 where hardware is learnt."""
        known = self._settings.hardware == "known" and len(genomes) > 0
        return self._problem.hardware(genomes)[1] if known else np.zeros(len(genomes))

    def _pool(self) -> Genomes:
        """Returns new designs that hardware allows ``(at most pool, gene)``: children of the best, and random ones."""
        size = self._settings.pool
        found: Genomes = np.empty((0, len(self._problem.space.genes)), dtype=np.int64)
        for _ in range(ROUNDS):
            if len(found) >= size:
                break
            more = np.concatenate([self._children(size - size // 4), self._problem.space.sample(self._rng, size // 4)])
            more = more[self._ruled_out(more) == 0]
            found = self._seen.fresh(np.concatenate([found, more]))
        return found[:size]

    def _children(self, count: int) -> Genomes:
        """Breeds canonical genomes ``(count, gene)`` from the best designs told; repeats may occur."""
        space, rng, archive = self._problem.space, self._rng, self._archive
        feasible = archive.violation == 0
        best = archive.genomes[feasible][select(archive.values[feasible], archive.violation[feasible], PARENTS)]
        mothers, fathers = best[rng.integers(0, len(best), size=(2, (count + 1) // 2))]
        mating = partial(mate, blocks=self._blocks, crossover=0.5, block_crossover=0.5, rng=rng)
        mutating = partial(mutate, space=space, mutations=1.5, step=0.5, rng=rng)
        return bred(mothers, fathers, space=space, mate=mating, mutate=mutating, rng=rng)[:count]

    # -- what is expected --------------------------------------------------------------------------------------

    def _suggest(self, count: int) -> Genomes:
        """Returns the designs of a pool that promise most ``(at most count, gene)``, noted."""
        told = self._archive.genomes[self._archive.violation == 0]
        pending = np.array(list(self._pending.values()), dtype=np.int64).reshape(-1, told.shape[1])
        pending = pending[self._ruled_out(pending) == 0]
        pool = self._pool()
        if not len(pool):
            return pool
        genomes = np.concatenate([told, pending, pool])
        taken, choices = np.split(np.arange(len(genomes)), [len(told) + len(pending)])
        draws, feasible = self._draws(genomes)
        rows = suggest(
            draws, feasible, taken, choices, acquisition=self._settings.acquisition, count=count, rng=self._rng
        )
        self._seen.add(genomes[rows])
        return genomes[rows]

    def _draws(self, genomes: Genomes) -> tuple[Array, NDArray[np.bool_]]:
        """Returns what designs may be ``(draw, design, objective)``, and whether feasible ``(draw, design)``."""
        archive, known = self._archive, self._settings.hardware == "known"
        outputs = np.full((len(genomes), len(self._problem.objectives)), np.nan)
        allowed = np.ones(len(archive.genomes), dtype=np.bool_)
        feasible = np.flatnonzero(archive.violation == 0)
        genes = np.ones(len(self._problem.space.genes), dtype=np.bool_)
        if known:
            # Beyond the range told, a cost counts up to the range's own width: a logarithm of 0 has no end.
            outputs = np.maximum(self._range.scaled(self._problem.hardware(genomes)[0]), -1.0)
            allowed = self._problem.hardware(archive.genomes)[1] == 0
            if archive.is_network.any():
                genes = archive.is_network
                feasible = np.array(list(archive.measured().values()), dtype=np.int64)
        wanted, inputs = (
            encode(self._problem.space, part)[:, _columns(self._problem.space, genes)]
            for part in (genomes, archive.genomes)
        )
        drawn = np.tile(outputs, (self._settings.draws, 1, 1))
        scaled = self._range.scaled(archive.values[feasible])
        for i in np.flatnonzero(np.isnan(outputs).any(axis=0)):
            drawn[:, :, i] = self._draw(f"objective {i}", inputs[feasible], scaled[:, i], wanted)
        score = infeasibility(archive.violation[allowed])
        if not (score > 0).any():
            return drawn, np.ones(drawn.shape[:2], dtype=np.bool_)
        return drawn, self._draw("infeasibility", inputs[allowed], score, wanted) < 0

    def _draw(self, quantity: str, inputs: Array, targets: Array, wanted: Array) -> Array:
        return self._surrogates.draws(quantity, inputs, targets, wanted, self._settings.draws, self._rng)


def encode(space: Space, genomes: Genomes) -> Array:
    """Returns genomes as features 0..1 ``(batch, feature)``: what a Matern kernel can measure distances between.

    An ordered gene is its choice's place in its range; an unordered one is one-hot, at the square root of one half,
    so that any two choices are 1 apart. Inactive genes are 0.
    """
    active = space.active(genomes)
    parts = [np.zeros((len(genomes), 0))]
    for i, gene in enumerate(space.genes):
        if gene.ordered:
            parts.append(genomes[:, i : i + 1] / max(len(gene.choices) - 1, 1))
        else:
            hot = genomes[:, i : i + 1] == np.arange(len(gene.choices))
            parts.append(np.sqrt(0.5) * (hot & active[:, i : i + 1]))
    return np.concatenate(parts, axis=1)


def _columns(space: Space, genes: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns the features that `encode` makes of some genes ``(gene,)``."""
    widths = [1 if gene.ordered else len(gene.choices) for gene in space.genes]
    return np.flatnonzero(np.repeat(genes, widths))


def infeasibility(violation: Array) -> Array:
    """Returns scores of violations ``(design,)``: -1 if feasible, else 0.5..1.5, growing with the violation.

    Feasible designs all violate by 0, the very bound; a process fitted to that would hold each for infeasible half
    the time.
    """
    violated = violation > 0
    finite = violation[violated & np.isfinite(violation)]
    middle = float(np.median(finite)) if len(finite) else 1.0
    return np.where(violated, 1.5 - 1.0 / (1.0 + np.where(violated, violation, 0.0) / middle), -1.0)


plugin = Bayes
