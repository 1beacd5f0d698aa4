"""The loop: ask, evaluate, commit, tell; until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from coevo.design import Evaluation, Front, Results
from coevo.errors import SpecError
from coevo.protocols import Context
from coevo.space import Genomes
from coevo.study.costs import KeptFigures, attach
from coevo.study.log import Log, genome_key
from coevo.study.plan import Plan
from coevo.study.progress import Progress, Tracker
from coevo.study.results import collect, evaluation_of
from coevo.study.taken import WARM_STEP

SPENT = "the budget is spent"
PAUSED = "the time limit is over; the same command goes on"
EXHAUSTED = "the optimiser knows of no further design"
"""Why a study has stopped."""

STALE_ASKS = 200
"""Asks in a row without a new design after which the optimiser counts as out of ideas."""


class Study:
    """One run in one folder.

    Nothing of the optimiser is stored. A run that was stopped, even killed, is resumed by replay: the optimiser is
    built again from the seed and told what the log says until its questions are new. So it ends with the same front
    as a run that was never stopped. The run folder is held until `close`; a study is a context manager.

        with experiment.study() as study:
            for progress in study.iterate():
                print(progress.evaluations, progress.best)
            front = study.front()

    Args:
        plan: What to run.
        folder: The run folder; made, or resumed if it holds the same experiment.
        jobs: Processes to use; no result depends on it.

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
        self._stale = 0
        self._asked: Genomes | None = None
        self._told: tuple[Evaluation, ...] = ()
        self._deadline: float | None = None
        self._tracker = Tracker(self.evaluator.objectives, self.evaluator.trains)
        self._log = Log(plan, self.folder, self._tracker, self.evaluator)
        self._step = 0 if self._log.taken is None else WARM_STEP
        self.resumed = len(self._log.known)
        self._began = (time.monotonic(), self._fraction)
        # Spawned, so that a generator for another part would not change this one.
        rng = np.random.default_rng(np.random.SeedSequence(plan.seed).spawn(1)[0])
        try:
            self._optimizer = plan.optimizer(self.evaluator, rng)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets go of the run folder."""
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
        """Runs, and yields a snapshot after every new design; the caller may stop at any of them and go on later."""
        limit = self.plan.budget.time_limit_s
        self._deadline = None if limit is None else time.monotonic() + limit
        self._began = (time.monotonic(), self._fraction)
        self.ended = ""
        while not self.ended:
            for _ in self._work():
                yield self.progress
        yield self.progress

    def step(self) -> tuple[Evaluation, ...]:
        """Does one ask, evaluation and tell.

        Returns:
            What is now known of the designs that the optimiser asked for; empty once the run has ended.
        """
        self._deadline, self.ended, self._told = None, "", ()
        for _ in self._work():
            pass
        return self._told

    @property
    def taken(self) -> str:
        """What the run began with out of other runs; empty for nothing."""
        return "" if self._log.taken is None else self._log.taken.facts

    @property
    def progress(self) -> Progress:
        """How far the run has come."""
        tracker, fraction = self._tracker, self._fraction
        return Progress(
            self._step,
            tracker.designs,
            tracker.infeasible,
            tracker.trainings,
            tracker.trainings_saved,
            tracker.best,
            tracker.hypervolume,
            fraction,
            self._seconds_left(fraction),
            self.ended,
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

    # -- one step ----------------------------------------------------------------------------------------------

    def _work(self) -> Iterator[None]:
        """Does one step, or the rest of one that was interrupted; pauses after every new design."""
        if self._asked is None:
            if self._step > self._log.last_step and self._fraction >= 1:
                self.ended = SPENT
                return
            self._asked = self._ask()
        fresh = self._log.fresh(self._asked)
        self._log.check_replay(self._step, self._asked, fresh)
        positions, keys = self._affordable(self._asked, fresh)
        accuracies = self._log.store.accuracies
        context = self._context(self._asked, positions)
        with closing(self.evaluator.evaluate(self._asked[positions], self._step, accuracies, context)) as outcomes:
            for i, evaluation in outcomes:
                self._log.add(evaluation, positions[i], keys[i])
                yield
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    self.ended = PAUSED
                    return
        if len(positions) < len(fresh):
            self.ended = SPENT
            self._told = self._evaluations_of(self._asked)
            self._tracker.close_step(self._step)
        else:
            self._tell(self._asked)

    def _ask(self) -> Genomes:
        """Returns what the optimiser asks for, canonical; before that, what other runs gave.

        Raises:
            SpecError: It asks for something that is no genomes.
        """
        if self._log.taken is not None and self._step == WARM_STEP:
            return np.array(self._log.taken.genomes, dtype=np.int64)
        asked = self._optimizer.ask()
        try:
            return self.evaluator.space.canonical(np.asarray(asked, dtype=np.int64))
        except (TypeError, ValueError) as error:
            raise SpecError(f"the optimiser {type(self._optimizer).__name__} asks for no genomes: {error}") from error

    def _affordable(self, genomes: Genomes, fresh: Sequence[int]) -> tuple[list[int], list[str]]:
        """Returns as many of the fresh positions, in order, as the budget allows, and their training keys."""
        budget, tracker = self.plan.budget, self._tracker
        keys = self.evaluator.training_keys(genomes[list(fresh)]) if fresh else []
        room = budget.most_designs - tracker.designs
        new: set[str] = set()
        for count, key in enumerate(keys):
            if key and not tracker.is_trained(key):
                new.add(key)
            overspent = budget.trainings is not None and tracker.trainings + len(new) > budget.trainings
            if count >= room or overspent:
                return list(fresh[:count]), keys[:count]
        return list(fresh), keys

    def _context(self, genomes: Genomes, positions: Sequence[int]) -> Context:
        """Returns what an accuracy model may know: earlier steps, and all that is new in this one.

        Nothing in it depends on how far this step had come when the run was stopped.
        """
        if not self.evaluator.trains or not positions:
            return Context()
        store = self._log.store
        new = sorted({*positions, *self._log.positions(self._step)})
        history = self.evaluator.candidates(self._log.before(self._step), store.accuracies)
        past = {candidate.network.key for candidate in history}
        company = self.evaluator.candidates(genomes[new])
        return Context(
            history=history,
            company=tuple(candidate for candidate in company if candidate.network.key not in past),
            memory=store.accuracies,
            folder=self.folder,
        )

    def _tell(self, genomes: Genomes) -> None:
        """Tells the whole batch in the order of asking, and closes the step."""
        self._told = told = self._evaluations_of(genomes)
        if told:
            values = np.array([evaluation.values for evaluation in told])
            violation = np.array([evaluation.violation for evaluation in told])
            self._optimizer.tell(genomes, values, violation)
        if self._step != WARM_STEP:  # designs of a front span too little to set the scale
            self._tracker.close_step(self._step)
        self._stale = 0 if self._log.has_step(self._step) else self._stale + 1
        if not told or self._stale >= STALE_ASKS:
            self.ended = EXHAUSTED
        self._step += 1
        self._asked = None

    @property
    def _fraction(self) -> float:
        """Fraction of the budget that is spent."""
        return self.plan.budget.spent(self._tracker.designs, self._tracker.trainings)

    def _evaluations_of(self, genomes: Genomes) -> tuple[Evaluation, ...]:
        """Returns what is known of a batch, in its order."""
        known = self._log.known
        return tuple(known[key] for key in map(genome_key, genomes) if key in known)

    def _seconds_left(self, fraction: float) -> float | None:
        now = time.monotonic()
        began, before = self._began
        left = (now - began) * (1 - fraction) / (fraction - before) if fraction > before else None
        if self._deadline is None:
            return left
        until = max(0.0, self._deadline - now)
        return until if left is None else min(left, until)
