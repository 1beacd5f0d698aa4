"""The plain schedule: ask, evaluate the whole batch, tell.

What the optimiser is told depends on nothing but the seed, so that a run finds the same with any number of workers.
The price: workers wait for the longest training of each batch.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

from coevo.design import Evaluation
from coevo.protocols import Context
from coevo.space import Genomes
from coevo.study.log import genome_key
from coevo.study.search import EXHAUSTED, SPENT, STALE_ASKS, Search


class Generations:
    """Batch by batch (socket `coevo.study.search.Schedule`).

    Nothing is under way between two calls of `work`: whoever stops in the midst of a batch ends its trainings.

    Args:
        search: The run's parts.
    """

    in_flight = 0

    def __init__(self, search: Search) -> None:
        self.step = search.first_step
        self.told: tuple[Evaluation, ...] = ()
        self.ended = ""
        self._search = search
        self._stale = 0
        self._asked: Genomes | None = None

    def work(self) -> Generator[None, None, None]:
        """Does one step, or the rest of one that was interrupted; pauses after every new design."""
        search, log = self._search, self._search.log
        self.ended, self.told = "", ()
        if self._asked is None:
            if self.step > log.last_step and search.fraction >= 1:
                self.ended = SPENT
                return
            self._asked = search.ask(self.step)
        fresh = log.fresh(self._asked)
        log.check_replay(self.step, self._asked, fresh)
        positions, keys = self._affordable(self._asked, fresh)
        context = self._context(self._asked, positions)
        genomes = self._asked[positions]
        with closing(search.evaluator.evaluate(genomes, self.step, log.store.accuracies, context)) as outcomes:
            for i, evaluation in outcomes:
                log.add(evaluation, positions[i], keys[i])
                yield
        if len(positions) < len(fresh):
            self.ended = SPENT
            self.told = self._evaluations_of(self._asked)
            search.close_step(self.step)
        else:
            self._tell(self._asked)

    def stop(self) -> None:
        """Does nothing."""

    def _affordable(self, genomes: Genomes, fresh: Sequence[int]) -> tuple[list[int], list[str]]:
        """Returns as many of the fresh positions, in order, as the budget allows, and their training keys."""
        budget, tracker = self._search.plan.budget, self._search.tracker
        keys = self._search.evaluator.training_keys(genomes[list(fresh)]) if fresh else []
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
        evaluator, log = self._search.evaluator, self._search.log
        if not evaluator.trains or not positions:
            return Context()
        new = sorted({*positions, *log.positions(self.step)})
        history = evaluator.candidates(log.before(self.step), log.store.accuracies)
        past = {candidate.network.key for candidate in history}
        company = evaluator.candidates(genomes[new])
        return Context(
            history=history,
            company=tuple(candidate for candidate in company if candidate.network.key not in past),
            memory=log.store.accuracies,
            folder=self._search.folder,
        )

    def _tell(self, genomes: Genomes) -> None:
        """Tells the whole batch in the order of asking, and closes the step."""
        self.told = self._evaluations_of(genomes)
        self._search.tell(self.told)
        self._search.close_step(self.step)
        self._stale = 0 if self._search.log.has_step(self.step) else self._stale + 1
        if not self.told or self._stale >= STALE_ASKS:
            self.ended = EXHAUSTED
        self.step += 1
        self._asked = None

    def _evaluations_of(self, genomes: Genomes) -> tuple[Evaluation, ...]:
        """Returns what is known of a batch, in its order."""
        known = self._search.log.known
        return tuple(known[key] for key in map(genome_key, genomes) if key in known)
