"""Trainings under way, by the key of the accuracy that they find."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import MutableMapping
from typing import Any

from coevo.design import Accuracy, Design, Network
from coevo.protocols import AccuracyModel, Context, NetworkFamily, Trainings


class KeyedTrainings:
    """Trains networks, others being added as some end, and puts what is found among the accuracies.

    What is found among them already is not trained: it is the first to be done.

    Args:
        model: Trains; has ``begin``, or is ``untrained`` and asked for one network after the other.
        family: Of the networks.
        seed: The run's.
        jobs: Trainings at a time.
        accuracies: Those known by `coevo.evaluate.Evaluator.accuracy_key`; new ones are put in.
    """

    def __init__(
        self,
        model: AccuracyModel,
        family: NetworkFamily,
        seed: int,
        jobs: int,
        accuracies: MutableMapping[str, Accuracy],
    ) -> None:
        begin: Any = getattr(model, "begin", None)
        self._trainings: Trainings = _InTurn(model, family, seed, jobs) if begin is None else begin(family, seed, jobs)
        self._accuracies = accuracies
        self._known: deque[str] = deque()
        self._designs: dict[str, tuple[str, Design]] = {}

    def add(self, key: str, design: Design, context: Context) -> None:
        """Adds a design's network, by the key of its accuracy; the context is what is known now."""
        if key in self._accuracies:
            self._known.append(key)
            return
        self._designs[design.network.key] = key, design
        self._trainings.add(design.network, context)

    def next(self) -> str:
        """Waits until the accuracy of one of those added is known, and returns its key.

        Raises:
            ValueError: It is not finite, or of a network that was not added; a bug of the model.
        """
        if self._known:
            return self._known.popleft()
        network, accuracy = self._trainings.next()
        if network.key not in self._designs:
            raise ValueError(f"the accuracy model speaks of network {network.key}, which was not asked for")
        key, design = self._designs.pop(network.key)
        check_accuracy(accuracy, design)
        self._accuracies[key] = accuracy
        return key

    def close(self) -> None:
        """Cancels those under way."""
        self._trainings.close()


class _InTurn:
    """Scores networks one after the other by a model that takes no time (socket `Trainings`)."""

    def __init__(self, model: AccuracyModel, family: NetworkFamily, seed: int, jobs: int) -> None:
        self._model = model
        self._family = family
        self._seed = seed
        self._jobs = jobs
        self._waiting: deque[tuple[Network, Context]] = deque()

    def add(self, network: Network, context: Context) -> None:
        self._waiting.append((network, context))

    def next(self) -> tuple[Network, Accuracy]:
        network, context = self._waiting.popleft()
        ((_, accuracy),) = self._model.score(self._family, [network], self._seed, self._jobs, context)
        return network, accuracy

    def close(self) -> None:
        self._waiting.clear()


def takes_one_by_one(model: AccuracyModel) -> bool:
    """Says whether a model judges each network alone, so that networks can be added to those under way."""
    return hasattr(model, "begin") or getattr(model, "untrained", False)


def check_accuracy(accuracy: Accuracy, design: Design) -> None:
    """Refuses an accuracy of a design that is no figure.

    Raises:
        ValueError: It is not finite; a bug of the model.
    """
    if accuracy.violation == 0 and not math.isfinite(accuracy.error):
        raise ValueError(f"the error of design {design.id} is {accuracy.error}; a failed training has a violation")
    if not (accuracy.violation >= 0 and math.isfinite(accuracy.violation)):
        raise ValueError(f"the accuracy model gives design {design.id} the violation {accuracy.violation}")
