"""The operators of NSGA-II on a population as one matrix ``(individual, gene)``, and designs to begin with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from coevo import pareto
from coevo.protocols import Array, is_network
from coevo.space import Genomes, Space

WOBBLE = 0.15
"""By how much the genes of `scaled` networks differ from each other, as a share of their ranges."""


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


def choose(rank: NDArray[np.int64], crowding: Array, count: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
    """Returns the rows of ``count`` parents, each the better of two drawn at random.

    Args:
        rank: Of each individual ``(individual,)``, as `standing` says.
        crowding: Of each individual ``(individual,)``.
        count: How many parents.
        rng: Source of randomness.
    """
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
    active = space.active(genomes)
    if active.all():
        return genomes
    return np.where(active, genomes, np.where(space.active(partners), partners, anything))


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
    shift = rng.integers(1, np.maximum(choices, 2), size=genomes.shape)
    up, steps = rng.random(genomes.shape) < 0.5, rng.random(genomes.shape) < step
    row, gene = np.nonzero(free & hit)  # few: what is drawn for all is worked out for these alone
    old, most = genomes[row, gene], choices[gene] - 1
    way = np.where(up[row, gene], 1, -1)
    way = np.where((old + way < 0) | (old + way > most), -way, way)
    another = (old + shift[row, gene]) % (most + 1)
    mutated = genomes.copy()
    mutated[row, gene] = np.where(space.ordered[gene] & steps[row, gene], old + way, another)
    return mutated


def bred(
    mothers: Genomes,
    fathers: Genomes,
    *,
    space: Space,
    mate: Callable[[Genomes, Genomes], tuple[Genomes, Genomes]],
    mutate: Callable[[Genomes], Genomes],
    rng: np.random.Generator,
) -> Genomes:
    """Returns the children of pairs, canonical ``(2 x pair, gene)``; repeats may occur.

    Args:
        mothers: Canonical ``(pair, gene)``.
        fathers: Canonical ``(pair, gene)``.
        space: The space.
        mate: Makes two children of each pair's completed genomes.
        mutate: Changes children.
        rng: Source of randomness for genes that are switched on.
    """
    completed = complete(mothers, fathers, space, rng), complete(fathers, mothers, space, rng)
    return space.canonical(mutate(np.concatenate(mate(*completed))))


def spread(space: Space, count: int, rng: np.random.Generator) -> Genomes:
    """Draws canonical genomes ``(count, gene)`` in which every gene takes its choices about equally often.

    Latin hypercube sampling: McKay, Beckman and Conover, Technometrics 21(2), 1979.
    """
    strata = rng.permuted(np.tile(np.arange(count)[:, None], (1, len(space.genes))), axis=0)
    quantiles = (strata + rng.random(strata.shape)) / count
    return space.canonical(np.minimum((quantiles * space.cardinalities).astype(np.int64), space.cardinalities - 1))


def scaled(space: Space, count: int, rng: np.random.Generator) -> Genomes:
    """Draws canonical genomes ``(count, gene)`` whose networks are as a whole small, large, or in between.

    All ordered genes of a network take about the same share of their range, the first and the last genome's the ends of
    it; unordered ones and the accelerator's genes are drawn as by `spread`. Networks that scale all their sizes
    together are good ones to start from (compound scaling: M. Tan, Q. Le, "EfficientNet", ICML 2019).
    """
    genomes = spread(space, count, rng)
    sizes = is_network(space) & space.ordered
    share = np.linspace(0, 1, count)[:, None] + rng.normal(0, WOBBLE, size=genomes.shape)
    share[:1], share[1:][-1:] = 0.0, 1.0
    steps = np.rint(np.clip(share, 0, 1) * (space.cardinalities - 1)).astype(np.int64)
    return space.canonical(np.where(sizes, steps, genomes))


def apart(points: Array, count: int) -> NDArray[np.int64]:
    """Returns ``count`` rows of points ``(row, axis)`` that lie far apart, in the order they were taken.

    Each is the one farthest from those taken before (T. Gonzalez, "Clustering to minimize the maximum intercluster
    distance", 1985), the first the nearest to the middle.
    """
    distance = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    taken = [int(np.argmin(distance))]
    nearest = np.full(len(points), np.inf)
    while len(taken) < min(count, len(points)):
        nearest = np.minimum(nearest, np.linalg.norm(points - points[taken[-1]], axis=1))
        nearest[taken] = -1.0
        taken.append(int(np.argmax(nearest)))
    return np.array(taken[:count], dtype=np.int64)
