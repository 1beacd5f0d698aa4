"""How far a study has come: what a caller shows while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from coevo import pareto
from coevo.design import Evaluation, Quantity
from coevo.protocols import NETWORK, Array

REFERENCE = 1.1
"""The hypervolume's reference point, in each normalised objective."""


@dataclass(frozen=True)
class Progress:
    """A snapshot of a study.

    Attributes:
        step: The `ask` that is being worked on, from 0; -1 while what a warm start took is scored.
        evaluations: Distinct designs so far, those of earlier processes included.
        infeasible: How many of them are infeasible.
        trainings: Networks trained so far.
        trainings_saved: Networks not trained because no hardware they came with was feasible.
        best: Best feasible value of each objective by column, in its unit; empty if no design is feasible.
        hypervolume: See `Scale`; None until a step with feasible designs is complete.
        fraction: Of the budget spent.
        seconds_left: Estimate until the budget is spent; None as long as there is nothing to go by.
        ended: Why the study has stopped; empty while it runs.
        in_flight: Trainings under way in steady state; 0 otherwise.
    """

    step: int
    evaluations: int
    infeasible: int
    trainings: int
    trainings_saved: int
    best: Mapping[str, float]
    hypervolume: float | None
    fraction: float
    seconds_left: float | None
    ended: str = ""
    in_flight: int = 0


@dataclass(frozen=True, eq=False)
class Scale:
    """Makes objectives comparable: 0 is the best and 1 the worst value of the first step's feasible designs.

    The hypervolume of normalised values has its reference at `REFERENCE` in each objective. Later designs may be
    better than 0, so that it can exceed ``1.1 ** objectives``.

    Attributes:
        ideal: Best values ``(objective,)``.
        span: Worst less best ``(objective,)``; 1 where they are equal.
    """

    ideal: Array
    span: Array

    @staticmethod
    def of(values: Array) -> Scale:
        """Returns the scale of values ``(design, objective)``, at least one design."""
        ideal = values.min(axis=0)
        span = values.max(axis=0) - ideal
        return Scale(ideal, np.where(span > 0, span, 1.0))

    def hypervolume(self, values: Array) -> float:
        """Returns the normalised hypervolume of values ``(design, objective)``."""
        return pareto.hypervolume((values - self.ideal) / self.span, np.full(len(self.ideal), REFERENCE))


class Tracker:
    """Follows the evaluations: counts, bests, front and hypervolume.

    Args:
        objectives: What is optimised.
        trains: Whether networks are trained at all.
    """

    def __init__(self, objectives: Sequence[Quantity], trains: bool) -> None:
        self._objectives = tuple(objectives)
        self._trains = trains
        self._trained: set[tuple[object, ...]] = set()
        self._untrained: set[tuple[object, ...]] = set()
        self._trainings: set[str] = set()
        self._given: frozenset[str] = frozenset()
        self._scale: Scale | None = None
        self._seen: list[tuple[int, tuple[float, ...]]] = []
        self._front = np.empty((0, len(self._objectives)))
        self.designs = 0
        self.infeasible = 0
        self.hypervolume: float | None = None

    @property
    def trainings(self) -> int:
        """Networks trained."""
        return len(self._trainings)

    @property
    def trainings_saved(self) -> int:
        """Networks that only ever came with infeasible hardware, and so were never trained."""
        return len(self._untrained) if self._trains else 0

    @property
    def best(self) -> dict[str, float]:
        """Best feasible value of each objective by column, in its unit."""
        if not len(self._front):
            return {}
        values = self._front.min(axis=0)
        return {
            quantity.column: float(-value if quantity.maximise else value)
            for quantity, value in zip(self._objectives, values, strict=True)
        }

    def give(self, trainings: Iterable[str]) -> None:
        """Names trainings of other runs, whose accuracies this one has without training."""
        self._given = self._given.union(trainings)

    def is_trained(self, training: str) -> bool:
        """Says whether a training costs nothing more: an evaluation has counted it, or another run did it."""
        return training in self._trainings or training in self._given

    def add(self, evaluation: Evaluation, training: str) -> None:
        """Takes in one evaluation, with the key of the accuracy it needed (empty if none)."""
        self.designs += 1
        self._count_network(network_of(evaluation), training)
        if evaluation.violation > 0:
            self.infeasible += 1
            return
        if self._scale is None:
            self._seen.append((evaluation.step, evaluation.values))
        values = np.array(evaluation.values)
        if (self._front <= values).all(axis=1).any():
            return
        self._front = np.vstack([self._front[~(values <= self._front).all(axis=1)], values])
        if self._scale is not None:
            self.hypervolume = self._scale.hypervolume(self._front)

    def close_step(self, step: int) -> None:
        """Marks a step as complete; the first that brought feasible designs sets the scale."""
        first = [values for of, values in self._seen if of <= step]
        if self._scale is None and first:
            self._scale = Scale.of(np.array(first))
            self._seen.clear()
            self.hypervolume = self._scale.hypervolume(self._front)

    def _count_network(self, network: tuple[object, ...], training: str) -> None:
        if training:
            if training not in self._given:
                self._trainings.add(training)
            self._trained.add(network)
            self._untrained.discard(network)
        elif network not in self._trained:
            self._untrained.add(network)


def network_of(evaluation: Evaluation) -> tuple[object, ...]:
    """Returns the network genes of an evaluation, equal for equal networks."""
    return tuple((name, value) for name, value in evaluation.genes.items() if name.startswith(NETWORK))
