"""The end of a run: the networks of the front are trained anew, in full, over several seeds.

A search sees proxies, and its front is the best of many noisy figures, hence too good. So the last word is a training
that every network of the front gets alike; it changes nothing of what the search found, and stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coevo.design import Accuracy, Final, FrontDesign, Network, Quantity, digest
from coevo.pareto import nondominated
from coevo.protocols import AccuracyModel, Context, NetworkFamily
from coevo.study.store import Store


@dataclass(frozen=True, eq=False)
class FinalPlan:
    """How the front is trained.

    Attributes:
        model: The accuracy model.
        record: Plain data that stand for it in the run folder: ``accuracy`` (its id) and ``seeds``.
    """

    model: AccuracyModel
    record: Mapping[str, Any]

    def train(
        self, family: NetworkFamily, networks: Sequence[Network], store: Store, jobs: int
    ) -> Iterator[tuple[int, int]]:
        """Trains what is not trained yet; yields (trainings done, of how many) at first and after each."""
        wanted = [(network, seed) for seed in self.record["seeds"] for network in networks]
        accuracies = store.accuracies
        done = sum(final_key(self.record, network, seed) in accuracies for network, seed in wanted)
        yield done, len(wanted)
        for seed in self.record["seeds"]:
            missing = [n for n in networks if final_key(self.record, n, seed) not in accuracies]
            if not missing:
                continue
            outcomes = self.model.score(family, missing, seed, jobs, Context(folder=store.folder.resolve()))
            with closing(outcomes) if isinstance(outcomes, Generator) else nullcontext():
                for i, accuracy in outcomes:
                    accuracies[final_key(self.record, missing[i], seed)] = accuracy
                    done += 1
                    yield done, len(wanted)


def final_key(record: Mapping[str, Any], network: Network, seed: int) -> str:
    """Returns the key of a network's final accuracy."""
    return digest(["final", record["accuracy"], network.key, seed])


def with_final(
    designs: Sequence[FrontDesign],
    objectives: Sequence[Quantity],
    record: Mapping[str, Any],
    accuracies: Mapping[str, Accuracy],
) -> tuple[FrontDesign, ...]:
    """Adds to the designs of a front what the final trainings said; nothing where one is still to come."""
    finals = [_final(design, record, accuracies) for design in designs]
    known = [i for i, final in enumerate(finals) if final is not None]
    values = np.array([_values(designs[i], objectives, finals[i]) for i in known]).reshape(len(known), len(objectives))
    failed = ~np.isfinite(values).all(axis=1)
    stands = nondominated(np.where(failed[:, None], 0.0, values), failed.astype(np.float64)) & ~failed
    for i, on_front in zip(known, stands, strict=True):
        final = finals[i]
        finals[i] = None if final is None else replace(final, stands=bool(on_front))
    return tuple(replace(design, final=final) for design, final in zip(designs, finals, strict=True))


def _final(design: FrontDesign, record: Mapping[str, Any], accuracies: Mapping[str, Accuracy]) -> Final | None:
    keys = [final_key(record, design.design.network, seed) for seed in record["seeds"]]
    known = [accuracy for accuracy in map(accuracies.get, keys) if accuracy is not None]
    if len(known) < len(keys):
        return None
    good = [accuracy for accuracy in known if accuracy.violation == 0]
    tests = [accuracy.test_error for accuracy in good if accuracy.test_error is not None]
    return Final(
        tuple(accuracy.error for accuracy in good),
        tuple(tests),
        good[0].fidelity if good else "",
        "; ".join(accuracy.reason for accuracy in known if accuracy.violation > 0),
    )


def _values(design: FrontDesign, objectives: Sequence[Quantity], final: Final | None) -> list[float]:
    """The objectives with the final error in the place of the search's."""
    error = math.nan if final is None else 100 * final.error
    return [
        error if quantity.column == "error_pct" else value
        for quantity, value in zip(objectives, design.evaluation.values, strict=True)
    ]
