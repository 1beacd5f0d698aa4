"""What both schedules of a study share: who asks, who evaluates, what is known and what is spent.

A schedule says in which order designs are asked for, evaluated and told: `coevo.study.generations`, batch by batch, or
`coevo.study.steady`, as one training ends the next one begins.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from coevo.design import Evaluation
from coevo.errors import SpecError
from coevo.evaluate import Evaluator
from coevo.protocols import Optimizer
from coevo.space import Genomes
from coevo.study.log import Log
from coevo.study.plan import Plan
from coevo.study.progress import Tracker
from coevo.study.taken import WARM_STEP

SPENT = "the budget is spent"
PAUSED = "the time limit is over; the same command goes on"
EXHAUSTED = "the optimiser knows of no further design"
"""Why a study has stopped."""

STALE_ASKS = 200
"""Asks in a row without a new design after which the optimiser counts as out of ideas."""


class Schedule(Protocol):
    """How a study goes on.

    Attributes:
        told: What the last `work` told the optimiser.
        ended: Why there is nothing more to do; empty as long as there is.
    """

    told: tuple[Evaluation, ...]
    ended: str

    @property
    def step(self) -> int:
        """Number of the last `ask`, from 0; `WARM_STEP` before that, where other runs gave something."""

    @property
    def in_flight(self) -> int:
        """Trainings under way that outlast a call of `work`."""

    def work(self) -> Generator[None, None, None]:
        """Goes on to the next `tell`, or does the rest of what was interrupted; pauses where new designs are known.

        What it was in the midst of is not lost when the caller stops at a pause: the next call goes on.
        """

    def stop(self) -> None:
        """Ends the trainings under way; the next `work` starts them anew."""


@dataclass(frozen=True, eq=False)
class Search:
    """The parts of a run at work.

    Attributes:
        plan: What is run.
        folder: The run folder, absolute: trainings may run elsewhere.
        evaluator: Scores designs.
        optimizer: Asks for them.
        log: What is known of them.
        tracker: Follows what is known.
    """

    plan: Plan
    folder: Path
    evaluator: Evaluator
    optimizer: Optimizer
    log: Log
    tracker: Tracker

    @property
    def fraction(self) -> float:
        """Fraction of the budget that is spent."""
        return self.plan.budget.spent(self.tracker.designs, self.tracker.trainings)

    @property
    def first_step(self) -> int:
        """Number of the first `ask`: `WARM_STEP` if the run begins with designs of others."""
        return 0 if self.log.taken is None else WARM_STEP

    def ask(self, step: int) -> Genomes:
        """Returns what the optimiser asks for ``(batch, gene)``, canonical; before that, what other runs gave.

        Args:
            step: Number of the ask.

        Raises:
            SpecError: It asks for something that is no genomes.
        """
        if self.log.taken is not None and step == WARM_STEP:
            return np.array(self.log.taken.genomes, dtype=np.int64)
        asked = self.optimizer.ask()
        try:
            return self.evaluator.space.canonical(np.asarray(asked, dtype=np.int64))
        except (TypeError, ValueError) as error:
            raise SpecError(f"the optimiser {type(self.optimizer).__name__} asks for no genomes: {error}") from error

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Tells the optimiser, if there is anything to tell."""
        if evaluations:
            genomes = np.array([evaluation.genome for evaluation in evaluations], dtype=np.int64)
            values = np.array([evaluation.values for evaluation in evaluations])
            violation = np.array([evaluation.violation for evaluation in evaluations])
            self.optimizer.tell(genomes, values, violation)

    def close_step(self, step: int) -> None:
        """Marks steps as complete: the first sets the scale of the hypervolume."""
        if step != WARM_STEP:  # designs of a front span too little to set the scale
            self.tracker.close_step(step)
