"""The loop: ask, evaluate, commit, tell; until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from coevo.design import Evaluation, Front, Results
from coevo.study.costs import KeptFigures, attach
from coevo.study.generations import Generations
from coevo.study.log import Log
from coevo.study.plan import Plan
from coevo.study.progress import Progress, Tracker
from coevo.study.results import collect, evaluation_of
from coevo.study.search import EXHAUSTED, PAUSED, SPENT, Schedule, Search
from coevo.study.steady import SteadyState


class Study:
    """One run in one folder.

    Nothing of the optimiser is stored. A run that was stopped, even killed, is resumed by replay: the optimiser is
    built again from the seed and told what the log says until its questions are new. So it ends with the same front
    as a run that was never stopped (in steady state: as one whose trainings ended in the order that the log holds). The
    run folder is held until `close`; a study is a context manager.

        with experiment.study() as study:
            for progress in study.iterate():
                print(progress.evaluations, progress.best)
            front = study.front()

    Args:
        plan: What to run.
        folder: The run folder; made, or resumed if it holds the same experiment.
        jobs: Processes to use; no result depends on it, but in steady state the order in which trainings end.

    Raises:
        SpecError: Other runs that it is to start from are of no use.
        RunError: The folder is in use, damaged, or belongs to another experiment (the text says what differs); or
            more is spent in it than the budget allows.
    """

    def __init__(self, plan: Plan, folder: Path, jobs: int = 1) -> None:
        self.plan = plan
        self.folder = Path(folder)
        attach(plan.cost, plan.joint, plan.near_file, KeptFigures(self.folder))
        self.evaluator = plan.evaluator(jobs)
        self.ended = ""
        self._jobs = jobs
        self._deadline: float | None = None
        self._tracker = Tracker(self.evaluator.objectives, self.evaluator.trains)
        self._log = Log(plan, self.folder, self._tracker, self.evaluator)
        self.resumed = len(self._log.known)
        # Spawned, so that a generator for another part would not change this one.
        rng = np.random.default_rng(np.random.SeedSequence(plan.seed).spawn(1)[0])
        try:
            optimizer = plan.optimizer(self.evaluator, rng)
        except BaseException:
            self._log.store.close()
            raise
        self._search = Search(plan, self.folder.resolve(), self.evaluator, optimizer, self._log, self._tracker)
        self._schedule: Schedule = (
            Generations(self._search) if plan.in_flight is None else SteadyState(self._search, plan.in_flight)
        )
        self._began = (time.monotonic(), self._search.fraction)

    def close(self) -> None:
        """Ends what is under way and lets go of the run folder."""
        self._schedule.stop()
        self._log.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- running -----------------------------------------------------------------------------------------------

    def run(self) -> Front:
        """Runs until the budget is spent or the time limit is over, and returns the front.

        Where the experiment says so (``final``), the networks of the front are trained anew at the end.
        """
        for _ in self.iterate():
            pass
        for _ in self.train_front():
            pass
        return self.front()

    def train_front(self) -> Iterator[tuple[int, int]]:
        """Trains the networks of the front anew, where the experiment says so; yields (trainings done, of how many).

        Nothing happens before the budget is spent. What is trained is kept: the same call goes on after a kill.
        """
        if self.plan.final is None or self.ended not in (SPENT, EXHAUSTED):
            return
        networks = {d.design.network.key: d.design.network for d in self.front().designs if d.accuracy is not None}
        yield from self.plan.final.train(self.plan.joint.family, list(networks.values()), self._log.store, self._jobs)

    def iterate(self) -> Iterator[Progress]:
        """Runs, and yields a snapshot after every new design; the caller may stop at any of them and go on later.

        In steady state, a snapshot after every `tell` of new designs. Trainings under way are ended with the iteration
        and begun anew by the next one.
        """
        limit = self.plan.budget.time_limit_s
        self._deadline = None if limit is None else time.monotonic() + limit
        self._began = (time.monotonic(), self._search.fraction)
        self.ended = ""
        try:
            while not self.ended:
                with closing(self._schedule.work()) as pauses:
                    for _ in pauses:
                        yield self.progress
                        if self._deadline is not None and time.monotonic() >= self._deadline:
                            self.ended = PAUSED
                            break
                self.ended = self.ended or self._schedule.ended
        finally:
            self._schedule.stop()
        yield self.progress

    def step(self) -> tuple[Evaluation, ...]:
        """Goes on until the optimiser is told something: by default one ask, evaluation and tell.

        Returns:
            What it was told: what is now known of the designs that it asked for; empty once the run has ended.
        """
        self._deadline = None
        for _ in self._schedule.work():
            pass
        self.ended = self._schedule.ended
        return self._schedule.told

    @property
    def taken(self) -> str:
        """What the run began with out of other runs; empty for nothing."""
        return "" if self._log.taken is None else self._log.taken.facts

    @property
    def progress(self) -> Progress:
        """How far the run has come."""
        tracker, fraction = self._tracker, self._search.fraction
        return Progress(
            self._schedule.step,
            tracker.designs,
            tracker.infeasible,
            tracker.trainings,
            tracker.trainings_saved,
            tracker.best,
            tracker.hypervolume,
            fraction,
            self._seconds_left(fraction),
            self.ended,
            self._schedule.in_flight,
        )

    # -- results -----------------------------------------------------------------------------------------------

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Every distinct design so far, in the order of asking."""
        store = self._log.store
        return tuple(evaluation_of(row, self.plan.joint, store.accuracies) for row in store.rows())

    def front(self) -> Front:
        """Returns the non-dominated designs so far, complete."""
        return self.results().front

    def results(self) -> Results:
        """Returns all that a report needs."""
        plan, store = self.plan, self._log.store
        return collect(self._log.header, store, plan.joint, plan.cost, self._jobs)

    def _seconds_left(self, fraction: float) -> float | None:
        now = time.monotonic()
        began, before = self._began
        left = (now - began) * (1 - fraction) / (fraction - before) if fraction > before else None
        if self._deadline is None:
            return left
        until = max(0.0, self._deadline - now)
        return until if left is None else min(left, until)
