"""NSGA-II over the joint genome, on DEAP's toolbox.

Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC 6(2), 2002: binary
tournament by (rank, crowding), crossover, mutation, and survival of the best of parents and offspring. What
differs, and why:

- No design is proposed twice: evaluations are dear.
- Hardware is known, exact and cheap, so designs that it rules out are redrawn before anyone trains a network.
- A network that is to be trained meets several accelerators first, and is proposed with those of them that no
  other beats by what the hardware alone decides: its training serves them all.
- Variation knows the genes: sizes step to a neighbouring choice, genes that a change switches on get a value of
  the other parent or a random one, and whole blocks (all network genes, all accelerator genes) may be swapped.
- The first designs are spread over the space (Latin hypercube).

DEAP gives the toolbox: `NSGA2.toolbox` holds ``choose``, ``mate``, ``mutate`` and ``select``, and each may be
registered anew. The operators work on the population as one matrix ``(individual, gene)``, whose rows are the
individuals, and draw from the generator that the optimiser was built with: DEAP's own draw from Python's global
``random``, so that a seed would not fix a run, and its selection by nested Python loops is 60 to 800 times slower
(100 and 1,000 survivors) for the same result. Nor is ``creator`` used, which writes module globals. The operators
return new matrices, so there is nothing to ``clone``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from deap import base
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from coevo import pareto
from coevo.optim.unseen import Seen, check_told, first_of_equal
from coevo.protocols import NETWORK, Array, Problem
from coevo.space import Genomes, Space

REDRAWS = 10
"""Rounds of proposals in which repeats and designs that hardware rules out are replaced."""
SPARE = 4
"""Proposals drawn for each one missing: few, as hardware scores them all, but enough to fill up in `REDRAWS` rounds."""


class NSGA2Settings(BaseModel):
    """Settings of NSGA-II.

    Attributes:
        population: Designs that survive a generation. About 30 does best at some hundred to some thousand
            designs; 100 and more only pay where evaluations are cheap.
        offspring: Designs per later ask; the population's size if not given. Few (down to the number of
            workers) learn faster per design.
        crossover: Probability that two parents mix their genes.
        block_crossover: Probability that they then swap one whole block instead of single genes.
        mutations: Expected number of active genes that mutate per child.
        step: Probability that a mutating ordered gene moves to a neighbouring choice instead of any other.
        hardware_screen: Whether designs that violate the hardware's constraints are redrawn before they are asked.
        trials: Accelerators that a proposed network meets, its own among them, where an objective needs a training
            and others do not; 1 for its own alone.
        pairings: The most of them that it is proposed with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    population: int = Field(default=30, ge=2, le=65536)
    offspring: int | None = Field(default=None, ge=1, le=65536)
    crossover: float = Field(default=0.9, ge=0, le=1)
    block_crossover: float = Field(default=0.5, ge=0, le=1)
    mutations: float = Field(default=1.0, gt=0)
    step: float = Field(default=0.5, ge=0, le=1)
    hardware_screen: bool = True
    trials: int = Field(default=32, ge=1)
    pairings: int = Field(default=3, ge=1)


class NSGA2:
    """Proposes children of the best designs known.

    The first asks, until as many designs as the population holds are known, spread over the space. `ask` may be
    called again before `tell` (workers that finish at different times): it goes by what is known so far.
    The same tells after the same asks always give the same next ask.

    Args:
        problem: What to search.
        settings: Its settings.
        rng: Source of all its randomness.
    """

    Settings: ClassVar[type[BaseModel]] = NSGA2Settings

    def __init__(self, problem: Problem, settings: NSGA2Settings, rng: np.random.Generator) -> None:
        self._problem = problem
        self._settings = settings
        self._rng = rng
        self._seen = Seen(problem.space)
        self._genomes: Genomes = np.empty((0, len(problem.space.genes)), dtype=np.int64)
        self._values: Array = np.empty((0, len(problem.objectives)))
        self._violation: Array = np.empty(0)
        self._is_network = np.array([gene.name.startswith(NETWORK) for gene in problem.space.genes])
        self.toolbox = base.Toolbox()
        self.toolbox.register("choose", choose, rng=rng)
        self.toolbox.register(
            "mate",
            mate,
            blocks=blocks(problem.space),
            crossover=settings.crossover,
            block_crossover=settings.block_crossover,
            rng=rng,
        )
        self.toolbox.register(
            "mutate", mutate, space=problem.space, mutations=settings.mutations, step=settings.step, rng=rng
        )
        self.toolbox.register("select", select)

    def ask(self) -> Genomes:
        """Returns canonical genomes ``(batch, gene)`` never asked for or told; fewer only if there are no more."""
        lacking = self._settings.population - len(self._genomes)
        if lacking > 0:
            return self._paired(self._propose(lacking, lambda count: spread(self._problem.space, count, self._rng)))
        return self._paired(self._propose(self._settings.offspring or self._settings.population, self._children))

    def tell(self, genomes: Genomes, values: Array, violation: Array) -> None:
        """Lets the best of the population and these designs survive, asked for or not.

        Args:
            genomes: ``(batch, gene)``, canonical. Of a design told twice the first figures count.
            values: ``(batch, objective)``, minimised; rows with violation > 0 are not read.
            violation: ``(batch,)``, 0 if feasible.

        Raises:
            ValueError: As `check_told`.
        """
        values, violation = check_told(self._problem, genomes, values, violation)
        self._seen.add(genomes)
        genomes = np.concatenate([self._genomes, genomes])
        values = np.concatenate([self._values, values])
        violation = np.concatenate([self._violation, violation])
        first = first_of_equal(genomes)
        genomes, values, violation = genomes[first], values[first], violation[first]
        survivors = self.toolbox.select(values, violation, self._settings.population)
        self._genomes, self._values, self._violation = genomes[survivors], values[survivors], violation[survivors]

    def _propose(self, count: int, source: Callable[[int], Genomes]) -> Genomes:
        """Takes ``count`` new genomes from ``source``, those that hardware allows first, then the least violating.

        Where ``source`` has too few new ones (the space is nearly exhausted), random ones fill up.
        """
        found: Genomes = np.empty((0, len(self._problem.space.genes)), dtype=np.int64)
        violation = np.empty(0)
        for _ in range(REDRAWS):
            missing = count - int(np.count_nonzero(violation == 0))
            if missing <= 0 or self._seen.exhausted:
                break
            fresh = self._seen.fresh(np.concatenate([found, source(min(count, SPARE * missing))]))
            violation = np.append(violation, self._screen(fresh[len(found) :]))
            found = fresh
        chosen = found[np.argsort(violation, kind="stable")[:count]]
        self._seen.add(chosen)
        return np.concatenate([chosen, self._seen.draw(self._rng, count - len(chosen))])

    def _paired(self, genomes: Genomes) -> Genomes:
        """Puts every proposed network on the best of several accelerators.

        Args:
            genomes: Proposals ``(batch, gene)``.

        Returns:
            ``(at most batch x pairings, gene)``, network by network: those of its trials that are feasible and not
            dominated in the objectives that hardware decides, the ends first, then the most apart. The proposals
            themselves where hardware decides all objectives or none.
        """
        joint = self._is_network.any() and not self._is_network.all()
        if self._settings.trials == 1 or not joint or not len(genomes):
            return genomes
        known = ~np.isnan(self._problem.hardware(genomes)[0]).any(axis=0)
        if known.all() or not known.any():
            return genomes
        trials = self._trials(genomes)
        values, violation = self._problem.hardware(trials.reshape(-1, genomes.shape[1]))
        values, violation = values[:, known].reshape(*trials.shape[:2], -1), violation.reshape(trials.shape[:2])
        proposals = [genomes[:0]]
        for i, genome in enumerate(genomes):
            rank = pareto.ranks(values[i], violation[i])
            best = [j for j in select(values[i], violation[i], len(rank)) if rank[j] == 0 and violation[i, j] == 0]
            chosen = trials[i, best][first_of_equal(trials[i, best])]
            met = np.array([self._seen.has(row) and bool((row != genome).any()) for row in chosen], dtype=np.bool_)
            new = chosen[~met][: self._settings.pairings]
            proposals.append(new if len(new) else genome[None, :])
            self._seen.add(proposals[-1])
        together = np.concatenate(proposals)
        return together[first_of_equal(together)]

    def _trials(self, genomes: Genomes) -> Genomes:
        """Returns accelerators for each network ``(batch, trial, gene)``: its own, the population's, and random ones.

        Every other one is a mutated accelerator of the population, if there is one yet.
        """
        space, (batch, count) = self._problem.space, (len(genomes), self._settings.trials)
        donors = space.sample(self._rng, batch * count)
        if len(self._genomes):
            parents = self._genomes[self._rng.integers(0, len(self._genomes), size=len(donors) // 2)]
            donors[::2][: len(parents)] = self.toolbox.mutate(complete(parents, parents, space, self._rng))
        networks = np.repeat(genomes, count, axis=0)
        trials = np.where(self._is_network, networks, donors)
        trials[::count] = genomes
        canonical: Genomes = space.canonical(trials).reshape(batch, count, -1)
        return canonical

    def _screen(self, genomes: Genomes) -> Array:
        """Violation of the constraints that hardware decides ``(batch,)``; all 0 if the screen is off."""
        if not self._settings.hardware_screen or not len(genomes):
            return np.zeros(len(genomes))
        return self._problem.hardware(genomes)[1]

    def _children(self, count: int) -> Genomes:
        """Breeds canonical genomes ``(count, gene)``; repeats may occur."""
        pairs = (count + 1) // 2
        parents = self.toolbox.choose(self._values, self._violation, 2 * pairs)
        mothers, fathers = self._genomes[parents[:pairs]], self._genomes[parents[pairs:]]
        space = self._problem.space
        completed = complete(mothers, fathers, space, self._rng), complete(fathers, mothers, space, self._rng)
        children: Genomes = self.toolbox.mutate(np.concatenate(self.toolbox.mate(*completed)))
        return space.canonical(children[:count])


# -- operators -------------------------------------------------------------------------------------------------


def standing(values: Array, violation: Array) -> tuple[NDArray[np.int64], Array]:
    """Returns rank and crowding ``(individual,)``; infeasible rows have crowding 0, as their values are not read."""
    rank = pareto.ranks(values, violation)
    feasible = violation == 0
    crowding = np.zeros(len(rank))
    crowding[feasible] = pareto.crowding(values[feasible], rank[feasible])
    return rank, crowding


def select(values: Array, violation: Array, count: int) -> NDArray[np.int64]:
    """Returns the rows that survive, at most ``count``, the best first: by rank, then by crowding.

    Args:
        values: ``(individual, objective)``.
        violation: ``(individual,)``.
        count: How many survive.
    """
    rank, crowding = standing(values, violation)
    return np.lexsort((-crowding, rank))[:count]


def choose(values: Array, violation: Array, count: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
    """Returns the rows of ``count`` parents, each the better of two drawn at random.

    Args:
        values: ``(individual, objective)``.
        violation: ``(individual,)``.
        count: How many parents.
        rng: Source of randomness.
    """
    rank, crowding = standing(values, violation)
    one, two = rng.integers(0, len(rank), size=(2, count))
    loses = (rank[two] < rank[one]) | ((rank[two] == rank[one]) & (crowding[two] > crowding[one]))
    parents: NDArray[np.int64] = np.where(loses, two, one)
    return parents


def complete(genomes: Genomes, partners: Genomes, space: Space, rng: np.random.Generator) -> Genomes:
    """Gives inactive genes a value, should crossover or mutation switch them on: the partner's, else a random one.

    Without this a stage that grows deeper would always get the first choice (index 0) of every gene in its new block.

    Args:
        genomes: Canonical ``(individual, gene)``.
        partners: Canonical ``(individual, gene)``.
        space: The space.
        rng: Source of randomness.
    """
    anything = rng.integers(0, space.cardinalities, size=genomes.shape)
    return np.where(space.active(genomes), genomes, np.where(space.active(partners), partners, anything))


def blocks(space: Space) -> NDArray[np.int64]:
    """Returns the number of the block that each gene belongs to ``(gene,)``: what makes sense to inherit as a whole.

    A block is the first part of a gene's dotted name: ``net`` for all network genes, ``eyeriss`` for all of that
    template. A conditional gene belongs to its parent's block, so that the gene ``template`` and the fields of
    all templates it chooses between are one.
    """
    block: dict[str, str] = {}
    for gene in space.genes:
        block[gene.name] = gene.name.partition(".")[0] if gene.parent is None else block[gene.parent]
    names = list(dict.fromkeys(block.values()))
    return np.array([names.index(block[gene.name]) for gene in space.genes], dtype=np.int64)


def mate(
    mothers: Genomes,
    fathers: Genomes,
    *,
    blocks: NDArray[np.int64],
    crossover: float,
    block_crossover: float,
    rng: np.random.Generator,
) -> tuple[Genomes, Genomes]:
    """Returns two children of each pair ``(pair, gene)``, which hold both parents' genes between them.

    A pair swaps one whole block, so that a network meets another's accelerator, or each gene with probability
    one half (uniform crossover), or stays as it is.

    Args:
        mothers: Completed genomes ``(pair, gene)``.
        fathers: Completed genomes ``(pair, gene)``.
        blocks: Block of each gene ``(gene,)``; with a single one there is nothing to swap as a whole.
        crossover: Probability that a pair mixes at all.
        block_crossover: Probability that it then swaps a block.
        rng: Source of randomness.
    """
    pairs = len(mothers)
    count = int(blocks.max(initial=0)) + 1
    mixes = rng.random((pairs, 1)) < crossover
    whole = (rng.random((pairs, 1)) < block_crossover) & (count > 1)
    block = blocks == rng.integers(0, count, size=(pairs, 1))
    swap = mixes & np.where(whole, block, rng.random(mothers.shape) < 0.5)
    return np.where(swap, fathers, mothers), np.where(swap, mothers, fathers)


def mutate(genomes: Genomes, *, space: Space, mutations: float, step: float, rng: np.random.Generator) -> Genomes:
    """Returns genomes in which some active genes took another choice ``(individual, gene)``.

    Inactive genes do not count: changing one changes nothing.

    Args:
        genomes: Completed genomes ``(individual, gene)``.
        space: The space.
        mutations: Expected number of mutating genes per genome.
        step: Probability that an ordered gene moves to a neighbouring choice; otherwise all others are as likely.
        rng: Source of randomness.
    """
    choices = space.cardinalities
    free = space.active(genomes) & (choices > 1)
    hit = rng.random(genomes.shape) < mutations / np.maximum(free.sum(axis=1, keepdims=True), 1)
    another = (genomes + rng.integers(1, np.maximum(choices, 2), size=genomes.shape)) % choices
    way = np.where(rng.random(genomes.shape) < 0.5, 1, -1)
    beyond = (genomes + way < 0) | (genomes + way >= choices)
    neighbour = np.where(beyond, genomes - way, genomes + way)
    ordered = np.array([gene.ordered for gene in space.genes], dtype=np.bool_)
    steps = ordered & (rng.random(genomes.shape) < step)
    return np.where(free & hit, np.where(steps, neighbour, another), genomes)


def spread(space: Space, count: int, rng: np.random.Generator) -> Genomes:
    """Draws canonical genomes ``(count, gene)`` in which every gene takes its choices about equally often.

    Latin hypercube sampling: McKay, Beckman and Conover, Technometrics 21(2), 1979.
    """
    strata = rng.permuted(np.tile(np.arange(count)[:, None], (1, len(space.genes))), axis=0)
    quantiles = (strata + rng.random(strata.shape)) / count
    return space.canonical(np.minimum((quantiles * space.cardinalities).astype(np.int64), space.cardinalities - 1))


plugin = NSGA2
