"""What one run has found, as a comparison needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coevo import pareto
from coevo.compare.exact import Yardstick
from coevo.protocols import Array
from coevo.study.store import Store
from coevo.study.taken import Taken


@dataclass(frozen=True, eq=False)
class Run:
    """The feasible designs of a run, in the order of asking.

    Attributes:
        values: ``(design, objective)``, as minimised.
        trainings: Distinct networks asked for up to each design, its own among them ``(design,)``.
        designs: Designs asked for up to each, infeasible ones too ``(design,)``.
        seconds: Time that those trainings took [s] ``(design,)``.
        asked: All designs of the run.
        trained: All networks asked for.
    """

    values: Array
    trainings: NDArray[np.int64]
    designs: NDArray[np.int64]
    seconds: Array
    asked: int
    trained: int

    def history(self, measure: Yardstick) -> Array:
        """Returns the share of the measure's hypervolume after each design ``(design,)``."""
        reference = np.ones(self.values.shape[1])
        violation = np.zeros(len(self.values))
        return pareto.hypervolume_history(measure.scaled(self.values), violation, reference) / measure.volume


def read_run(folder: Path, objectives: int) -> Run:
    """Reads a run folder.

    Args:
        folder: The run's.
        objectives: How many there are.

    Raises:
        RunError: It holds no run.
    """
    store = Store(folder, read_only=True)
    try:
        rows = store.rows()
        taken = Taken.of(store)
        keys = dict.fromkeys(row.training for row in rows if row.training)
        known = {key: store.accuracies.get(key) for key in keys}
    finally:
        store.close()
    given = frozenset(() if taken is None else taken.trained)
    met: set[str] = set()
    seconds = 0.0
    feasible = []
    for count, row in enumerate(rows, start=1):
        if row.training and row.training not in met | given:
            met.add(row.training)
            accuracy = known[row.training]
            seconds += 0.0 if accuracy is None else accuracy.seconds
        if row.violation == 0:
            feasible.append((row.values, len(met), count, seconds))
    return Run(
        np.array([values for values, *_ in feasible], dtype=np.float64).reshape(-1, objectives),
        np.array([trainings for _, trainings, *_ in feasible], dtype=np.int64),
        np.array([count for *_, count, _ in feasible], dtype=np.int64),
        np.array([spent for *_, spent in feasible], dtype=np.float64),
        len(rows),
        len(met),
    )


def after(history: Array, spent: NDArray[Any], budget: float) -> float:
    """Returns what a history ``(design,)`` had reached when ``spent`` ``(design,)`` was within a budget."""
    within = np.flatnonzero(spent <= budget)
    return float(history[within[-1]]) if len(within) else 0.0
