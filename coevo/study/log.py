"""What is known of a run: its store, held against the plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from coevo.design import Evaluation
from coevo.errors import RunError
from coevo.space import Genomes
from coevo.study.plan import Plan, differences
from coevo.study.progress import Tracker
from coevo.study.results import evaluation_of
from coevo.study.store import Event, Place, Row, Store

MADE_BY = ("coevo", "numpy", "deap")
"""Packages whose versions are noted down in the run folder, for when a resumed run diverges."""

Genome = tuple[int, ...]


class Log:
    """The evaluations of one run, in memory and in its folder.

    Args:
        plan: What is run.
        folder: The run folder; made, or opened if it holds the same experiment.
        tracker: Follows the evaluations.

    Attributes:
        known: Evaluations by genome.
        last_step: The last step that stood in the folder when it was opened; -1 for none.
        store: The run folder's.

    Raises:
        RunError: The folder is in use, damaged or belongs to another experiment, or more is spent than the budget.
    """

    def __init__(self, plan: Plan, folder: Path, tracker: Tracker) -> None:
        self.known: dict[Genome, Evaluation] = {}
        self.store = Store(folder)
        self._plan = plan
        self._folder = folder
        self._tracker = tracker
        self._asked: dict[int, dict[int, Genome]] = {}
        try:
            self._recognise()
            self._read()
            self._check_budget()
            self._note()
        except BaseException:
            self.store.close()
            raise
        self.last_step = max(self._asked, default=-1)

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

    def _note(self) -> None:
        """Writes down whose run this is, and the header, which tells of the budget now given."""
        facts: dict[str, object] = {"header": self._plan.header.to_data()}
        if not self.store.meta:
            facts |= {"identity": dict(self._plan.identity), "hash": self._plan.hash, "made_by": versions()}
        self.store.set_meta(facts)


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


def versions() -> dict[str, str]:
    """Returns the versions of the packages that a run's course may depend on."""
    return {name: _version(name) for name in MADE_BY}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
