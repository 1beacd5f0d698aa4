"""What is known of a run: its store, held against the plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from coevo.design import Accuracy, Evaluation
from coevo.errors import RunError
from coevo.evaluate import Evaluator
from coevo.space import Genomes
from coevo.study.plan import Header, Plan, differences, versions
from coevo.study.progress import Tracker
from coevo.study.results import evaluation_of
from coevo.study.store import Event, Place, Row, Store
from coevo.study.taken import Taken

Genome = tuple[int, ...]


class Log:
    """The evaluations of one run, in memory and in its folder.

    Args:
        plan: What is run.
        folder: The run folder; made, or opened if it holds the same experiment.
        tracker: Follows the evaluations.
        evaluator: Scores the plan's genomes.

    Attributes:
        known: Evaluations by genome.
        taken: What the run began with out of other runs; None for nothing.
        last_step: The last step that stood in the folder when it was opened; -1 for none.
        store: The run folder's.

    Raises:
        SpecError: The folder is new, and the other runs that it is to start from are of no use.
        RunError: The folder is in use, damaged or belongs to another experiment, or more is spent than the budget.
    """

    def __init__(self, plan: Plan, folder: Path, tracker: Tracker, evaluator: Evaluator) -> None:
        self.known: dict[Genome, Evaluation] = {}
        self.store = Store(folder)
        self._plan = plan
        self._folder = folder
        self._tracker = tracker
        self._asked: dict[int, dict[int, Genome]] = {}
        try:
            self._recognise()
            self.taken, accuracies = self._begin(evaluator)
            tracker.give(() if self.taken is None else self.taken.trained)
            self._read()
            self._check_budget()
            self._note(accuracies)
        except BaseException:
            self.store.close()
            raise
        self.last_step = max(self._asked, default=-1)

    @property
    def header(self) -> Header:
        """The plan's header, and what the run began with."""
        header = self._plan.header
        said = {} if self.taken is None else {"warm start": self.taken.facts}
        return replace(header, facts={**header.facts, **said})

    def add(self, evaluation: Evaluation, position: int, training: str) -> None:
        """Commits one evaluation.

        Args:
            evaluation: Of a design that is not known yet.
            position: Its place in the batch that its step asked for.
            training: Key of the accuracy it needed; empty if it needed none.
        """
        self.store.add(_row(evaluation, position, training))
        self._take_in(evaluation, position, training)

    def add_told(self, places: Sequence[Place], new: Sequence[tuple[Evaluation, int, str]]) -> None:
        """Commits, at once, that designs are told, and the evaluations of those that are new.

        Args:
            places: Of all that is told.
            new: Arguments of `add`.
        """
        self.store.note(Event("tell", tuple(places)), [_row(*one) for one in new])
        for one in new:
            self._take_in(*one)

    def genome_at(self, place: Place) -> Genome | None:
        """Returns the genome that stands in the log as new at a place."""
        step, position = place
        return self._asked.get(step, {}).get(position)

    def fresh(self, genomes: Genomes) -> list[int]:
        """Returns the positions of genomes ``(batch, gene)`` that are not known yet, each genome once."""
        first: dict[Genome, int] = {}
        for position, genome in enumerate(map(genome_key, genomes)):
            if genome not in self.known:
                first.setdefault(genome, position)
        return list(first.values())

    def has_step(self, step: int) -> bool:
        """Says whether a step brought a design that was new then."""
        return step in self._asked

    def positions(self, step: int) -> list[int]:
        """Returns the positions of the designs that stand in the log as new in a step."""
        return sorted(self._asked.get(step, {}))

    def before(self, step: int) -> Genomes:
        """Returns the genomes of all earlier steps ``(design, gene)``, in the order of asking."""
        rows = [of[position] for s, of in sorted(self._asked.items()) if s < step for position in sorted(of)]
        return np.array(rows, dtype=np.int64).reshape(-1, len(self._plan.joint.space.genes))

    def check_replay(self, step: int, genomes: Genomes, fresh: Sequence[int]) -> None:
        """Refuses to go on where the optimiser does not ask what it asked when the log was written.

        Args:
            step: Number of the ask.
            genomes: What it asks now, ``(batch, gene)``.
            fresh: Positions of those not known; only the last step of a log may lack any.

        Raises:
            RunError: It asks otherwise; the text names the versions then and now.
        """
        asked = dict(enumerate(map(genome_key, genomes)))
        same = all(asked.get(position) == genome for position, genome in self._asked.get(step, {}).items())
        if same and (step >= self.last_step or (asked and not fresh)):
            return
        raise self.diverged(step)

    def diverged(self, step: int) -> RunError:
        """Returns the error that says that the optimiser does not ask in a step what it asked before."""
        made_by, now = self.store.meta.get("made_by", {}), versions()
        changes = ", ".join(f"{name} {made_by.get(name)} -> {now[name]}" for name in now)
        return RunError(
            f"{self._folder}: step {step} cannot be replayed, the optimiser asks for other designs than the log holds "
            f"({changes}); use the versions that made the run, or choose another folder (--out)"
        )

    def _recognise(self) -> None:
        """Refuses a folder of another experiment."""
        meta = self.store.meta
        if not meta:
            return
        changed = differences(meta.get("identity"), json.loads(json.dumps(self._plan.identity)))
        if changed:
            more = f" [and {len(changed) - 3} more]" if len(changed) > 3 else ""
            raise RunError(
                f"{self._folder}: holds a run of another experiment ({'; '.join(changed[:3])}{more}); "
                "choose another folder (--out), or undo the change"
            )

    def _begin(self, evaluator: Evaluator) -> tuple[Taken | None, Mapping[str, Accuracy]]:
        """Returns what the run begins with, and the accuracies to be noted with it: only a new run looks at others."""
        if self.store.meta or self._plan.warm_start is None:
            return Taken.of(self.store), {}
        return self._plan.warm_start.take(self._plan, evaluator)

    def _read(self) -> None:
        for row in self.store.rows():
            try:
                evaluation = evaluation_of(row, self._plan.joint, self.store.accuracies)
            except ValueError as error:
                raise RunError(f"{self._folder}: the log is damaged: {error}") from None
            self._take_in(evaluation, row.position, row.training)

    def _take_in(self, evaluation: Evaluation, position: int, training: str) -> None:
        self.known[evaluation.genome] = evaluation
        self._asked.setdefault(evaluation.step, {})[position] = evaluation.genome
        self._tracker.add(evaluation, training)

    def _check_budget(self) -> None:
        """Refuses a budget below what is spent; a larger one goes on."""
        budget, tracker = self._plan.budget, self._tracker
        if budget.spent(tracker.designs, tracker.trainings) > 1:
            raise RunError(
                f"{self._folder}: {tracker.designs:,} designs and {tracker.trainings:,} trainings are spent, more than "
                f"the budget of {budget}; give a larger budget or choose another folder (--out)"
            )

    def _note(self, accuracies: Mapping[str, Accuracy]) -> None:
        """Writes down whose run this is, what it begins with, and the header, which tells of the budget now given."""
        facts: dict[str, object] = {"header": self.header.to_data()}
        if not self.store.meta:
            facts |= {"identity": dict(self._plan.identity), "hash": self._plan.hash, "made_by": versions()}
            facts |= {} if self.taken is None else self.taken.to_meta()
        self.store.set_meta(facts, accuracies)


def _row(evaluation: Evaluation, position: int, training: str) -> Row:
    return Row(
        evaluation.step,
        position,
        evaluation.genome,
        evaluation.id,
        training,
        evaluation.metrics,
        evaluation.values,
        evaluation.violation,
        evaluation.reason,
    )


def genome_key(genome: Genomes) -> Genome:
    """Returns one genome ``(gene,)`` as a tuple."""
    return tuple(genome.tolist())
