"""NSGA-II over the joint genome, on DEAP's toolbox.

Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC 6(2), 2002: binary
tournament by (rank, crowding), crossover, mutation, and survival of the best of parents and offspring. What
differs, and why:

- No design is proposed twice: evaluations are dear.
- Hardware is known, exact and cheap, so designs that it rules out are redrawn before anyone trains a network.
- A network that is to be trained is proposed with all accelerators that suit it (`coevo.optim.pairing`): its training
  serves them all.
- What a training will say is learnt from those before, and an inner NSGA-II, in which the hardware is exact, decides
  which networks are trained at all (`coevo.optim.guided`). ``error_model: none`` leaves plain NSGA-II.
- Variation knows the genes: sizes step to a neighbouring choice, genes that a change switches on get a value of
  the other parent or a random one, and whole blocks (all network genes, all accelerator genes) may be swapped.
- The first designs are spread over the space (Latin hypercube), or, where errors are learnt, over what they cost.

DEAP gives the toolbox: `NSGA2.toolbox` holds ``choose``, ``mate``, ``mutate`` and ``select``, and each may be
registered anew. The operators work on the population as one matrix ``(individual, gene)``, whose rows are the
individuals, and draw from the generator that the optimiser was built with: DEAP's own draw from Python's global
``random``, so that a seed would not fix a run, and its selection by nested Python loops is 60 to 800 times slower
(100 and 1,000 survivors) for the same result. Nor is ``creator`` used, which writes module globals. The operators
return new matrices, so there is nothing to ``clone``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from deap import base
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from coevo.optim.archive import Archive
from coevo.optim.error_model import ErrorModel
from coevo.optim.guided import GuidedSearch
from coevo.optim.operators import apart, blocks, bred, choose, mate, mutate, scaled, select, spread, standing
from coevo.optim.pairing import Pairing
from coevo.optim.proposals import SPARE, propose
from coevo.optim.unseen import Seen, check_told, first_of_equal, keys, left_open
from coevo.protocols import Array, Problem
from coevo.space import Genomes, Space

OFFSPRING = 8
"""Networks per ask where errors are learnt, unless set."""
LEAST_MEASURED = 4
"""Networks whose errors must be known before any is learnt from."""


class NSGA2Settings(BaseModel):
    """Settings of NSGA-II.

    Attributes:
        population: Designs that survive a generation. About 30 does best at some hundred to some thousand
            designs; 100 and more only pay where evaluations are cheap.
        offspring: Networks per later ask (designs, where nothing is trained); by default 8 where errors are learnt,
            else the population's size. Few (down to the number of workers) learn faster per design.
        crossover: Probability that two parents mix their genes.
        block_crossover: Probability that they then swap one whole block instead of single genes.
        mutations: Expected number of active genes that mutate per child.
        step: Probability that a mutating ordered gene moves to a neighbouring choice instead of any other.
        hardware_screen: Whether designs that violate the hardware's constraints are redrawn before they are asked.
        trials: Accelerators that a proposed network meets in each of `coevo.optim.pairing.ROUNDS` rounds, its own among
            them, where an objective needs a training and others do not; 1 for its own alone.
        pairings: The most of them that it is proposed with.
        error_model: What learns the objective that only a training tells: ``gaussian_process``, ``gradient_boosting``,
            or ``none`` for plain NSGA-II. Where there is no such objective, or more than one, NSGA-II is plain too.
        initial: Networks that are asked for before any is chosen by what was learnt.
        inner_population: Designs that survive a generation of the inner search.
        inner_generations: Generations of the inner search for each ask.
        log_costs: Whether what hardware decides counts by its logarithm when gains in hypervolume are weighed.
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
    pairings: int = Field(default=16, ge=1)
    error_model: Literal["gaussian_process", "gradient_boosting", "none"] = "gaussian_process"
    initial: int = Field(default=10, ge=2)
    inner_population: int = Field(default=100, ge=4, le=65536)
    inner_generations: int = Field(default=15, ge=1)
    log_costs: bool = True


def toolbox_of(space: Space, settings: NSGA2Settings, rng: np.random.Generator) -> base.Toolbox:
    """Returns ``choose``, ``mate``, ``mutate`` and ``select`` (`coevo.optim.operators`) as settings say."""
    toolbox = base.Toolbox()
    toolbox.register("choose", choose, rng=rng)
    mating = {"crossover": settings.crossover, "block_crossover": settings.block_crossover}
    toolbox.register("mate", mate, blocks=blocks(space), **mating, rng=rng)
    toolbox.register("mutate", mutate, space=space, mutations=settings.mutations, step=settings.step, rng=rng)
    toolbox.register("select", select)
    return toolbox


class NSGA2:
    """Proposes children of the best designs known.

    The first asks, until as many designs as the population holds (or networks as ``initial`` says) are asked for, are
    spread over the space. `ask` may be called again before `tell` (workers that finish at different times): it goes by
    what is known so far. The same tells after the same asks always give the same next ask.

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
        self._standing: tuple[NDArray[np.int64], Array] | None = None  # of these, once a child is bred from them
        self._archive = Archive(problem)
        self._pending: dict[bytes, Genomes] = {}
        self.toolbox = toolbox_of(problem.space, settings, rng)
        self._pairing = Pairing(problem, self.toolbox, settings.trials, settings.pairings, rng)

    def ask(self) -> Genomes:
        """Returns canonical genomes ``(batch, gene)`` never asked for or told; fewer only if there are no more."""
        asked = self._plain() if self._guide is None else self._guided(self._guide)
        self._seen.add(asked)
        self._pending |= zip(keys(asked), asked, strict=True)
        return asked

    def _plain(self) -> Genomes:
        """The next designs of NSGA-II as it is known."""
        lacking = self._settings.population - len(self._genomes) - len(self._pending)
        count = lacking if lacking > 0 else self._settings.offspring or self._settings.population
        breed = self._children if lacking <= 0 and len(self._genomes) else self._spread
        return self._paired(self._propose(count, breed))

    def _guided(self, guide: GuidedSearch) -> Genomes:
        """The next designs by what was learnt."""
        pending = np.array(list(self._pending.values()), dtype=np.int64).reshape(-1, self._genomes.shape[1])
        met = self._archive.network_keys(np.concatenate([self._archive.genomes, pending]))
        lacking = min(self._settings.initial, self._networks) - len(set(met))
        if lacking > 0:
            return self._paired(self._first(lacking))
        count = self._settings.offspring or OFFSPRING
        if len(self._archive.measured()) >= LEAST_MEASURED:
            chosen, free = guide.propose(self._archive, self._seen, pending, count)
            if len(chosen) or len(free):
                paired = np.concatenate([self._paired(chosen), free])
                return paired[first_of_equal(paired)]
        return self._paired(self._propose(count, self._children if len(self._genomes) else self._spread))

    @cached_property
    def _networks(self) -> int:
        """How many networks there are."""
        return self._problem.space.part(self._archive.is_network).size

    @cached_property
    def _unknown(self) -> int | None:
        """The one objective that hardware leaves open, if there are networks and exactly one; else None."""
        if not self._archive.is_network.any():
            return None
        unknown = np.flatnonzero(left_open(self._problem))
        return int(unknown[0]) if len(unknown) == 1 else None

    @cached_property
    def _guide(self) -> GuidedSearch | None:
        """Chooses networks by what was learnt; None for plain NSGA-II."""
        settings = self._settings
        if settings.error_model == "none" or self._unknown is None:
            return None
        return GuidedSearch(
            self._problem,
            self._unknown,
            ErrorModel(self._problem, settings.error_model, self._rng),
            self.toolbox,
            population=settings.inner_population,
            generations=settings.inner_generations,
            logarithmic=settings.log_costs,
            rng=self._rng,
        )

    def _first(self, count: int) -> Genomes:
        """Returns designs ``(count, gene)`` far apart in what they cost, out of more that hardware allows."""
        space, rng = self._problem.space, self._rng

        def source(number: int) -> Genomes:
            return np.concatenate([spread(space, number - number // 2, rng), scaled(space, number // 2, rng)])

        found = self._seen.fresh(source(SPARE * count))
        values, violation = self._problem.hardware(found)
        allowed = violation == 0
        if np.count_nonzero(allowed) <= count:
            return self._propose(count, source)
        found, values = found[allowed], np.delete(values[allowed], self._unknown or 0, axis=1)
        places = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0) / len(values)
        chosen: Genomes = found[apart(places, count)]
        return chosen

    def _paired(self, genomes: Genomes) -> Genomes:
        """Gives each network of ``genomes`` the accelerators that suit it, where there is a choice."""
        return self._pairing.of(genomes, self._genomes, self._seen)

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
        for key in keys(genomes):
            self._pending.pop(key, None)
        if self._guide is not None:
            self._archive.add(genomes, values, violation)
        genomes = np.concatenate([self._genomes, genomes])
        values = np.concatenate([self._values, values])
        violation = np.concatenate([self._violation, violation])
        first = first_of_equal(genomes)
        genomes, values, violation = genomes[first], values[first], violation[first]
        survivors = self.toolbox.select(values, violation, self._settings.population)
        self._standing = None
        self._genomes, self._values, self._violation = genomes[survivors], values[survivors], violation[survivors]

    def _propose(self, count: int, source: Callable[[int], Genomes]) -> Genomes:
        """As `coevo.optim.proposals.propose`, with the hardware's screen if it is on."""
        screen = self._settings.hardware_screen
        return propose(self._problem, self._seen, count, source, hardware_screen=screen, rng=self._rng)

    def _spread(self, count: int) -> Genomes:
        """Draws canonical genomes ``(count, gene)`` that are spread over the space."""
        return spread(self._problem.space, count, self._rng)

    def _children(self, count: int) -> Genomes:
        """Breeds canonical genomes ``(count, gene)``; repeats may occur."""
        pairs = (count + 1) // 2
        if self._standing is None:
            self._standing = standing(self._values, self._violation)
        parents = self.toolbox.choose(*self._standing, 2 * pairs)
        mothers, fathers = np.split(self._genomes[parents], 2)
        mate, mutate = self.toolbox.mate, self.toolbox.mutate
        return bred(mothers, fathers, space=self._problem.space, mate=mate, mutate=mutate, rng=self._rng)[:count]


plugin = NSGA2
