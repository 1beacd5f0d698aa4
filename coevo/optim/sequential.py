"""Sequential search, a baseline: the network first and then its accelerator, or the accelerator first.

What is done without co-search. *Network first*: networks are searched for one given machine, and the best of them get
other machines afterwards, which costs no training. *Hardware first*: the machine is chosen by what it costs to run
networks drawn at random, and then networks are searched for it. The search itself is `coevo.optim.nsga2` both times, so
that only the order makes a difference.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo import pareto
from coevo.optim.derived import OneMachine, SearchInParts
from coevo.optim.nsga2 import NSGA2Settings, toolbox_of
from coevo.optim.pairing import Pairing
from coevo.optim.unseen import Seen
from coevo.protocols import Problem, is_network
from coevo.space import Genomes

MACHINES = 256
"""Accelerators among which one is chosen without any training."""
SAMPLE = 8
"""Networks by which an accelerator is judged, drawn at random."""


class SequentialSettings(BaseModel):
    """Settings of sequential search.

    Attributes:
        order: ``network_first`` or ``hardware_first``.
        networks: Networks that are asked for on the one machine before, network first, the best get others. Beyond them
            designs are drawn at random.
        error_model: As NSGA-II's.
        trials: Accelerators that each of the best networks meets in a round.
        pairings: Accelerators that each of them is proposed with, at most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    order: Literal["network_first", "hardware_first"] = "network_first"
    networks: int = Field(default=50, ge=2)
    error_model: Literal["gaussian_process", "gradient_boosting", "none"] = "gaussian_process"
    trials: int = Field(default=64, ge=2)
    pairings: int = Field(default=16, ge=1)


class Sequential(SearchInParts):
    """Searches one side after the other.

    Args:
        problem: What to search.
        settings: Its settings.
        rng: Source of all its randomness.
    """

    Settings: ClassVar[type[BaseModel]] = SequentialSettings

    def __init__(self, problem: Problem, settings: SequentialSettings, rng: np.random.Generator) -> None:
        super().__init__(problem, rng)
        self._settings = settings
        self._asked: set[bytes] = set()
        self._paired: set[bytes] = set()

    def ask(self) -> Genomes:
        """Returns canonical genomes ``(batch, gene)`` never asked for or told; fewer only if there are no more."""
        if not self.searches:
            self._search(
                OneMachine(self._problem, self._machine()), NSGA2Settings(error_model=self._settings.error_model)
            )
        asked = self._seen.fresh(self.searches[0].ask() if not self._done else self._afterwards())
        if not len(asked):
            asked = self._seen.draw(self._rng, 1)
            if self._done:  # a network drawn at random afterwards gets no other machines
                self._paired.update(self._archive.network_keys(asked))
        self._seen.add(asked)
        self._asked.update(self._archive.network_keys(asked))
        return asked

    @property
    def _done(self) -> bool:
        """Whether the networks are found and it is their accelerators' turn."""
        return self._settings.order == "network_first" and len(self._asked) >= self._settings.networks

    def _afterwards(self) -> Genomes:
        """Other machines for the networks of the front that the search found, once each; some may be told late."""
        if not len(self._archive.genomes):
            return self._archive.genomes
        best = self._archive.genomes[pareto.nondominated(self._archive.values, self._archive.violation)]
        first: dict[bytes, int] = {}
        for i, key in enumerate(self._archive.network_keys(best)):
            if key not in self._paired:
                first.setdefault(key, i)
        networks = best[list(first.values())]
        if not len(networks):
            return networks
        self._paired.update(first)
        toolbox = toolbox_of(self._problem.space, NSGA2Settings(), self._rng)
        pairing = Pairing(self._problem, toolbox, self._settings.trials, self._settings.pairings, self._rng)
        return pairing.of(networks, self._archive.genomes, Seen(self._problem.space))

    def _machine(self) -> Genomes:
        """Returns a genome ``(gene,)`` whose accelerator is the one to search networks for.

        Network first: the middle of every field, or of machines drawn at random the first that violates least. Hardware
        first: the one with the least sum of ranks in what a few networks cost on it in the mean.
        """
        space, own = self._problem.space, is_network(self._problem.space)
        machines = space.sample(self._rng, MACHINES)
        machines[0] = (space.cardinalities - 1) // 2
        networks = space.sample(self._rng, SAMPLE)
        costs, violations = [], []
        for network in networks:
            values, violation = self._problem.hardware(space.canonical(np.where(own, network, machines)))
            known = values[:, ~np.isnan(values).all(axis=0)]
            costs.append(np.where(violation[:, None] > 0, np.nan, known))
            violations.append(violation)
        violation = np.mean(violations, axis=0)
        chosen = int(np.argmin(violation))
        allowed = np.flatnonzero(violation == 0)
        if self._settings.order == "hardware_first" and len(allowed):
            mean = np.mean(costs, axis=0)[allowed]
            places = np.argsort(np.argsort(mean, axis=0, kind="stable"), axis=0).sum(axis=1)
            chosen = int(allowed[np.argmin(places)])
        machine: Genomes = space.canonical(np.where(own, 0, machines[chosen])[None, :])[0]
        return machine


plugin = Sequential
