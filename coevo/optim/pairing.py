"""Co-pairing: a network that is trained once is proposed with all accelerators that suit it."""

from __future__ import annotations

import numpy as np
from deap import base
from numpy.typing import NDArray

from coevo import pareto
from coevo.optim.operators import complete, select
from coevo.optim.unseen import Seen, first_of_equal
from coevo.protocols import Array, Problem, is_network
from coevo.space import Genomes

ROUNDS = 3
"""Rounds in which a network meets accelerators; after the first, they are mutants of those that suit it best."""


class Pairing:
    """Finds the accelerators of a network that no other beats in what hardware decides.

    Args:
        problem: What is searched.
        toolbox: ``mutate`` is used.
        trials: Accelerators that a network meets in each round, its own among them; 1 for its own alone.
        most: Accelerators that it is proposed with, at most.
        rng: Source of all randomness.
    """

    def __init__(
        self, problem: Problem, toolbox: base.Toolbox, trials: int, most: int, rng: np.random.Generator
    ) -> None:
        self._problem = problem
        self._toolbox = toolbox
        self._trials = trials
        self._most = most
        self._rng = rng
        self._is_network = is_network(problem.space)

    def of(self, genomes: Genomes, population: Genomes, seen: Seen) -> Genomes:
        """Returns networks with their accelerators.

        Args:
            genomes: A design of each network ``(network, gene)``, canonical and new.
            population: Designs whose accelerators are tried too ``(individual, gene)``; perhaps none.
            seen: Designs asked for or told before, which are left out; what is returned is noted.

        Returns:
            ``(at most network x most, gene)``, network by network: those that are feasible and not dominated in the
            objectives that hardware decides, the ends first, then the most apart. The genomes themselves where hardware
            decides all objectives or none.
        """
        joint = self._is_network.any() and not self._is_network.all()
        if self._trials == 1 or not joint or not len(genomes):
            return genomes
        known: NDArray[np.bool_] = np.asarray(~np.isnan(self._problem.hardware(genomes)[0]).any(axis=0))
        if known.all() or not known.any():
            return genomes
        met = [genomes[:, None, :]]
        figures = [self._figures(met[0], known)]
        for number in range(ROUNDS):
            met.append(self._strangers(genomes, population) if number == 0 else self._mutants(met, figures))
            figures.append(self._figures(met[-1], known))
        proposals = [genomes[:0]]
        for i, genome in enumerate(genomes):
            designs, values, violation = self._of_one(i, met, figures)
            rank = pareto.ranks(values, violation)
            best = [j for j in select(values, violation, len(rank)) if rank[j] == 0 and violation[j] == 0]
            best = [best[k] for k in first_of_equal(values[best])]  # of machines that cost the same, one
            new = [j for j in best if not seen.has(designs[j]) or bool((designs[j] == genome).all())][: self._most]
            proposals.append(designs[new] if new else genome[None, :])
            seen.add(proposals[-1])
        together = np.concatenate(proposals)
        return together[first_of_equal(together)]

    def _figures(self, designs: Genomes, known: NDArray[np.bool_]) -> tuple[Array, Array]:
        """What hardware says of ``(network, trial, gene)``: values ``(network, trial, known)``, violation."""
        values, violation = self._problem.hardware(designs.reshape(-1, designs.shape[2]))
        return values[:, known].reshape(*designs.shape[:2], -1), violation.reshape(designs.shape[:2])

    def _of_one(
        self, network: int, met: list[Genomes], figures: list[tuple[Array, Array]]
    ) -> tuple[Genomes, Array, Array]:
        """All designs of one network that were met, each once, with their figures."""
        designs = np.concatenate([part[network] for part in met])
        values = np.concatenate([part[network] for part, _ in figures])
        violation = np.concatenate([part[network] for _, part in figures])
        first = first_of_equal(designs)
        return designs[first], values[first], violation[first]

    def _strangers(self, genomes: Genomes, population: Genomes) -> Genomes:
        """Random accelerators, every other one a mutant of the population's ``(network, trial, gene)``."""
        space, count = self._problem.space, len(genomes) * (self._trials - 1)
        donors = space.sample(self._rng, count)
        if len(population):
            parents = population[self._rng.integers(0, len(population), size=count // 2)]
            donors[::2][: len(parents)] = self._mutated(parents)
        return self._with_accelerators(genomes, donors)

    def _mutants(self, met: list[Genomes], figures: list[tuple[Array, Array]]) -> Genomes:
        """Mutants of the accelerators that suit each network best so far ``(network, trial, gene)``."""
        parents = []
        for i in range(len(met[0])):
            designs, values, violation = self._of_one(i, met, figures)
            order = select(values, violation, len(designs))
            good = np.count_nonzero(pareto.ranks(values, violation) == 0)
            parents.append(designs[self._rng.choice(order[: max(1, good)], size=self._trials - 1)])
        return self._with_accelerators(met[0][:, 0, :], self._mutated(np.concatenate(parents)))

    def _mutated(self, genomes: Genomes) -> Genomes:
        mutated: Genomes = self._toolbox.mutate(complete(genomes, genomes, self._problem.space, self._rng))
        return mutated

    def _with_accelerators(self, genomes: Genomes, donors: Genomes) -> Genomes:
        """Gives each network as many of the donors' accelerators as there are trials ``(network, trial, gene)``."""
        networks = np.repeat(genomes, len(donors) // len(genomes), axis=0)
        canonical = self._problem.space.canonical(np.where(self._is_network, networks, donors))
        return canonical.reshape(len(genomes), -1, genomes.shape[1])
