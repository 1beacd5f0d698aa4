"""What came out of a run: read from its folder, the front scored again for its breakdowns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from coevo import pareto
from coevo.design import Accuracy, Evaluation, Front, FrontDesign, Results
from coevo.errors import RunError
from coevo.evaluate import JointSpace, on_target
from coevo.metrics import METRICS, inputs_of
from coevo.protocols import CostModel
from coevo.study.costs import facts_of
from coevo.study.final import with_final
from coevo.study.plan import Header
from coevo.study.progress import Tracker
from coevo.study.sources import Sources
from coevo.study.store import Row, Store
from coevo.study.taken import WARM_STEP, Taken
from coevo.study.truth import with_truth


def load_results(folder: Path) -> Results:
    """Reads the results of a run, also while it is running.

    Needs neither the experiment's files (they are kept in the run folder) nor the data set.

    Raises:
        RunError: The folder holds no run, a damaged one, or one that this coevo scores otherwise.
    """
    folder = Path(folder)
    store = Store(folder, read_only=True)
    try:
        header, sources = read_header(store)
        joint, cost = sources.build(folder)
        return collect(header, store, joint, cost)
    except ValueError as error:
        raise RunError(f"{folder}: does not fit this coevo: {error}") from None
    finally:
        store.close()


def read_header(store: Store) -> tuple[Header, Sources]:
    """Reads what a run says of itself.

    Raises:
        RunError: It is missing or damaged.
    """
    try:
        header = Header.from_data(store.meta["header"])
        return header, Sources.from_data(header.sources)
    except (KeyError, TypeError) as error:
        raise RunError(f"{store.folder}: the run's header is missing or damaged ({error})") from None


def collect(header: Header, store: Store, joint: JointSpace, cost: CostModel, jobs: int = 1) -> Results:
    """Puts together all that a report needs.

    Args:
        header: Of the run.
        store: Its designs and accuracies.
        joint: The space.
        cost: The cost model, which scores the front again for its breakdowns.
        jobs: Processes to score the front with.

    Raises:
        RunError: The cost model now says otherwise of a design than when the run was made.
    """
    rows = store.rows()
    known = {key: store.accuracies.get(key) for key in {row.training for row in rows if row.training}}
    trained = {key: accuracy for key, accuracy in known.items() if accuracy is not None}
    evaluations = tuple(evaluation_of(row, joint, trained) for row in rows)
    objectives = tuple(header.by_column[column] for column in header.objectives)
    tracker = Tracker(objectives, any(quantity.name == "error" for quantity in header.quantities))
    taken = Taken.of(store)
    tracker.give(() if taken is None else taken.trained)
    for evaluation, row in zip(evaluations, rows, strict=True):
        tracker.add(evaluation, row.training)
    front = [(evaluations[i], rows[i].training) for i in _front(evaluations)]
    accuracies = [_accuracy(store, key) if key else None for _, key in front]
    designs = _complete([evaluation for evaluation, _ in front], accuracies, joint, cost, jobs)
    designs = with_truth(designs, objectives, cost, joint, jobs)
    if header.final is not None:
        designs = with_final(designs, objectives, header.final, store.accuracies)
    return Results(
        name=header.name,
        facts={**header.facts, **facts_of(cost)},
        settings=header.settings,
        quantities=header.by_column,
        objectives=objectives,
        constraints=header.constraints,
        genes=tuple(gene.name for gene in joint.space.genes),
        evaluations=evaluations,
        front=Front(objectives, designs),
        space_sizes=joint.sizes,
        trainings=tracker.trainings,
        trainings_saved=tracker.trainings_saved,
        training_seconds=sum(accuracy.seconds for accuracy in trained.values()),
        origins={} if taken is None else {r.id: taken.origins[r.position] for r in rows if r.step == WARM_STEP},
    )


def evaluation_of(row: Row, joint: JointSpace, accuracies: Mapping[str, Accuracy]) -> Evaluation:
    """Returns the evaluation that a row stands for, with the fidelity of the accuracy that it needed.

    Raises:
        ValueError: The row's genome is not one of the space.
    """
    genome = np.array(row.genome, dtype=np.int64)
    joint.space.check(genome[None, :])
    genes = joint.space.decode(genome)
    known = accuracies.get(row.training) if row.training else None
    fidelity = "" if known is None else known.fidelity
    return Evaluation(row.id, row.genome, genes, row.metrics, row.values, row.violation, row.reason, row.step, fidelity)


def _front(evaluations: Sequence[Evaluation]) -> list[int]:
    """Returns the indices of the non-dominated evaluations, sorted by objectives, then id."""
    if not evaluations:
        return []
    values = np.array([evaluation.values for evaluation in evaluations])
    violation = np.array([evaluation.violation for evaluation in evaluations])
    kept = np.flatnonzero(pareto.nondominated(values, violation)).tolist()
    return sorted(kept, key=lambda i: (evaluations[i].values, evaluations[i].id))


def _accuracy(store: Store, key: str) -> Accuracy:
    """Returns an accuracy without the time it took, which no result may depend on."""
    accuracy = store.accuracies.get(key)
    if accuracy is None:
        raise RunError(f"{store.folder}: the log is damaged: it lacks the accuracy {key}")
    return replace(accuracy, seconds=0.0)


def _complete(
    evaluations: Sequence[Evaluation],
    accuracies: Sequence[Accuracy | None],
    joint: JointSpace,
    cost: CostModel,
    jobs: int,
) -> tuple[FrontDesign, ...]:
    """Adds to evaluations what the run folder does not hold: workloads and breakdowns."""
    if not evaluations:
        return ()
    designs = [joint.design(np.array(evaluation.genome, dtype=np.int64)) for evaluation in evaluations]
    workloads = [joint.workload(design.network) for design in designs]
    machines = [list(design.machines.values()) for design in designs]
    pairs = [(workload, machine) for workload, of in zip(workloads, machines, strict=True) for machine in of]
    found = iter(cost.evaluate(pairs, jobs))
    costs = [tuple(next(found) for _ in of) for of in machines]
    complete = tuple(map(FrontDesign, evaluations, designs, workloads, costs, accuracies))
    for design in complete:
        _check_score(design)
    return complete


def _check_score(found: FrontDesign) -> None:
    """Refuses a breakdown that is not of the figures beside it."""
    for (label, machine), cost in zip(found.design.machines.items(), found.costs, strict=True):
        given: dict[str, object] = {"cost": cost, "workload": found.workload, "accelerator": machine}
        for own in METRICS.values():
            metric, wanted = on_target(own, label) if label else own, inputs_of(own)
            column = metric.quantity.column
            if not wanted <= given.keys() or column not in found.evaluation.metrics:
                continue
            now = float(metric.compute(**{name: given[name] for name in wanted}))
            then = found.evaluation.metrics[column]
            if not math.isclose(now, then, rel_tol=1e-9):
                raise RunError(
                    f"design {found.evaluation.id}: {column} was {then:g} when the run was made and is {now:g} by this "
                    "coevo; use the version that made the run, or start a new one"
                )
