"""Genomes to figures: hardware first, and only what can be built is trained."""

from __future__ import annotations

import inspect
import math
from collections.abc import Generator, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any, SupportsFloat

import numpy as np

from coevo.design import AT, Accuracy, Cost, Design, Evaluation, FrontDesign, Network, Quantity, digest
from coevo.errors import SpecError
from coevo.evaluate.cache import Cache
from coevo.evaluate.constraints import Constraint, total_excess
from coevo.evaluate.joint import JointSpace
from coevo.evaluate.targets import figures, with_targets
from coevo.evaluate.trainings import KeyedTrainings, check_accuracy
from coevo.evaluate.unknown import known_metrics
from coevo.learning.features import VIEWS, Features, NetworkFeatures, View
from coevo.metrics import METRICS, ON_REQUEST, inputs_of
from coevo.protocols import AccuracyModel, Array, Candidate, Context, CostModel, Metric
from coevo.space import Genomes, Space


@dataclass(frozen=True)
class HardwareScore:
    """What the cost model alone says of a design.

    Attributes:
        metrics: Every metric that needs no accuracy, by column; without a valid mapping, or where the machine or the
            network alone breaks a constraint, only those that need no cost.
        violation: 0 if feasible, else the sum of relative excesses and of the cost model's own violation.
        reason: What is broken; empty if feasible.
    """

    metrics: Mapping[str, float]
    violation: float
    reason: str


class Evaluator:
    """Scores genomes; what an optimiser sees of it is `coevo.protocols.Problem`.

    A design's hardware is scored at once and cached by (network, accelerator); its network is trained only if the
    hardware is feasible and an objective or constraint asks for the accuracy.

    Args:
        joint: The space.
        objectives: What is optimised.
        constraints: What is allowed.
        cost: The cost model.
        accuracy: The accuracy model; None if no objective or constraint needs one.
        accuracy_id: Stands for the accuracy model's settings in the keys of accuracies.
        seed: Of the run; a training's own follows from it and the network.
        jobs: Processes to spread work over; no figure depends on it.

    Raises:
        ValueError: The accuracy is needed and there is no model.
    """

    def __init__(
        self,
        joint: JointSpace,
        objectives: Sequence[Metric],
        constraints: Sequence[Constraint],
        cost: CostModel,
        *,
        accuracy: AccuracyModel | None = None,
        accuracy_id: str = "",
        seed: int = 0,
        jobs: int = 1,
    ) -> None:
        self.joint = joint
        self.constraints = tuple(constraints)
        self._labels = () if joint.targets is None else tuple(joint.targets.machines)
        self.trains = needs_accuracy(objectives, constraints, self._labels)
        if self.trains and accuracy is None:
            raise ValueError("an objective or constraint needs the accuracy, and there is no accuracy model")
        self._objectives = tuple(objectives)
        self._cost = cost
        self._accuracy = accuracy
        self._accuracy_id = accuracy_id
        self._seed = seed
        self._jobs = jobs
        computed = computed_metrics(objectives, constraints, self.trains, self._labels)
        metrics = known_metrics(computed, cost, joint)
        self._hardware_metrics = {c: m for c, m in metrics.items() if "accuracy" not in inputs_of(m)}
        self._trained_metrics = {c: m for c, m in metrics.items() if "accuracy" in inputs_of(m)}
        self._features = NetworkFeatures(joint.family, seed)
        self._scores: Cache[tuple[str, str], HardwareScore] = Cache(1 << 16)

    @property
    def space(self) -> Space:
        """The joint space."""
        return self.joint.space

    @property
    def objectives(self) -> tuple[Quantity, ...]:
        """What is optimised, in order."""
        return tuple(metric.quantity for metric in self._objectives)

    def hardware(self, genomes: Genomes) -> tuple[Array, Array]:
        """Scores genomes ``(batch, gene)`` by the cost model alone.

        Returns:
            values ``(batch, objective)``, minimised: NaN where an objective needs the accuracy, 0 where violation
            ``(batch,)`` is positive.
        """
        scores = self.score(genomes)
        values = np.zeros((len(scores), len(self._objectives)))
        for row, score in zip(values, scores, strict=True):
            for k, metric in enumerate(self._objectives):
                if metric.quantity.column in self._trained_metrics:
                    row[k] = math.nan
                elif score.violation == 0:
                    row[k] = minimised(metric.quantity, score.metrics)
        return values, np.array([score.violation for score in scores], dtype=np.float64)

    @property
    def views(self) -> tuple[str, ...]:
        """Kinds of features that errors may be learnt from (`coevo.learning.features.VIEWS`)."""
        graph = hasattr(self.joint.family, "graph")
        return tuple(name for name, views in VIEWS.items() if graph or "graph" not in views)

    def features(self, genomes: Genomes, views: Sequence[View]) -> list[Features]:
        """Returns the features of genomes' networks ``(batch, gene)``, of some kinds."""
        networks = [self.joint.network(genome) for genome in genomes]
        return self._features.of(networks, views)

    def score(self, genomes: Genomes) -> list[HardwareScore]:
        """Returns what the cost model alone says of each genome ``(batch, gene)``, in their order.

        Raises:
            ValueError: A metric of a design that can be mapped is not finite; a bug of the model.
        """
        return [score for _, score in self._scored(genomes)]

    def training_keys(self, genomes: Genomes) -> list[str]:
        """Returns, per genome ``(batch, gene)``, the key of the accuracy that it needs; empty if it needs none."""
        return [
            self.accuracy_key(design) if self.trains and score.violation == 0 else ""
            for design, score in self._scored(genomes)
        ]

    def accuracy_key(self, design: Design) -> str:
        """Returns what decides a design's accuracy."""
        return accuracy_key(design.network, self._accuracy_id, self._seed)

    def evaluate(
        self,
        genomes: Genomes,
        step: int = 0,
        accuracies: MutableMapping[str, Accuracy] | None = None,
        context: Context | None = None,
    ) -> Generator[tuple[int, Evaluation], None, None]:
        """Yields (index, evaluation) of every genome as it becomes known: what needs no training first.

        Args:
            genomes: Canonical, ``(batch, gene)``.
            step: Goes into the evaluations.
            accuracies: Those known by `accuracy_key`; new ones are put in as they come.
            context: What the accuracy model may know beside the networks; by default these genomes alone.

        Raises:
            ValueError: A model gives a figure that is not finite for a feasible design; a bug of the model.
        """
        accuracies = {} if accuracies is None else accuracies
        scored = self._scored(genomes)
        waiting: dict[str, list[int]] = {}
        for i, (design, score) in enumerate(scored):
            if self.trains and score.violation == 0:
                waiting.setdefault(self.accuracy_key(design), []).append(i)
            else:
                yield i, self._evaluation(design, score, None, step)
        needed = {key: scored[rows[0]][0] for key, rows in waiting.items()}
        for key in self._trained(needed, accuracies, context or Context(company=self.candidates(genomes))):
            for i in waiting[key]:
                yield i, self._evaluation(*scored[i], accuracies[key], step)

    def begin(self, accuracies: MutableMapping[str, Accuracy]) -> KeyedTrainings:
        """Returns trainings, none yet, whose networks are added one by one; what they find goes into ``accuracies``.

        Raises:
            ValueError: There is no accuracy model.
        """
        if self._accuracy is None:
            raise ValueError("there is no accuracy model")
        return KeyedTrainings(self._accuracy, self.joint.family, self._seed, self._jobs, accuracies)

    def inspect(
        self, genome: Genomes, train: bool = True, accuracies: MutableMapping[str, Accuracy] | None = None
    ) -> FrontDesign:
        """Returns all that can be known of one design ``(gene,)``, feasible or not.

        Args:
            genome: Canonical, ``(gene,)``.
            train: Whether to train the network where an objective or constraint asks for it; otherwise metrics
                that need the accuracy are absent, and NaN among the values.
            accuracies: As in `evaluate`.

        Raises:
            ValueError: The accelerator's choices make no machine together, or as `evaluate`.
        """
        accuracies = {} if accuracies is None else accuracies
        design = self.joint.design(genome)
        if train:
            ((_, evaluation),) = self.evaluate(genome[None, :], 0, accuracies)
        else:
            evaluation = self._evaluation(design, self.score(genome[None, :])[0], None, 0)
        (costs,) = self._costs([design])
        accuracy = accuracies.get(self.accuracy_key(design)) if train and self.trains else None
        return FrontDesign(evaluation, design, self.joint.workload(design.network), costs, accuracy)

    def _scored(self, genomes: Genomes) -> list[tuple[Design, HardwareScore]]:
        """Decodes and scores ``(batch, gene)``; what the cache does not know goes to the cost model in one batch."""
        attempts = [self.joint.attempt(genome) for genome in genomes]
        keys = [(design.network.key, design.accelerator.key) for design, _ in attempts]
        # Gathered beside the cache, which may forget part of a large batch.
        known = {key: self._scores[key] for key in keys if key in self._scores}
        todo: dict[tuple[str, str], Design] = {}
        for key, (design, reason) in zip(keys, attempts, strict=True):
            if not reason and key not in known:
                early = self._judge_early(design)
                if early.violation > 0:
                    known[key] = self._scores[key] = early
                else:
                    todo[key] = design
        for (key, design), costs in zip(todo.items(), self._costs(todo.values()), strict=True):
            known[key] = self._scores[key] = self._judge(design, costs)
        return [
            (design, HardwareScore({}, 1.0, reason) if reason else known[key])
            for key, (design, reason) in zip(keys, attempts, strict=True)
        ]

    def _costs(self, designs: Iterable[Design]) -> list[tuple[Cost, ...]]:
        """The costs of each design on each of its machines."""
        pairs = [(self.joint.workload(d.network), machine) for d in designs for machine in d.machines.values()]
        costs = self._cost.evaluate(pairs, self._jobs) if pairs else []
        whole = isinstance(costs, list) and len(costs) == len(pairs) and all(isinstance(cost, Cost) for cost in costs)
        if not whole:
            raise SpecError(f"the cost model {type(self._cost).__name__} must return a list of {len(pairs)} Cost")
        size = max(1, len(self._labels))
        return [tuple(costs[i : i + size]) for i in range(0, len(costs), size)]

    def _judge_early(self, design: Design) -> HardwareScore:
        """What needs no mapping (area, MACs, parameters): a design that already breaks a constraint is not mapped."""
        metrics = self._compute(self._hardware_metrics, design)
        return HardwareScore(metrics, *total_excess(self.constraints, metrics))

    def _judge(self, design: Design, costs: Sequence[Cost]) -> HardwareScore:
        violations = [cost.violation for cost in costs]
        if not all(math.isfinite(violation) and violation >= 0 for violation in violations):
            raise ValueError(f"the cost model gives design {design.id} the violation {max(violations, key=abs)}")
        unmapped = sum(violations)
        metrics = self._compute(self._hardware_metrics, design, () if unmapped > 0 else costs)
        violation, reason = total_excess(self.constraints, metrics)
        failed = [
            f"{label}: {cost.reason}" if label else cost.reason
            for label, cost in zip(design.machines, costs, strict=True)
            if cost.violation > 0
        ]
        reasons = "; ".join(part for part in (*failed, reason) if part)
        total = violation + unmapped
        return HardwareScore(metrics, total, reasons)

    def candidates(self, genomes: Genomes, accuracies: Mapping[str, Accuracy] | None = None) -> tuple[Candidate, ...]:
        """Returns the networks of genomes ``(batch, gene)`` that need an accuracy, in their order, each once.

        Args:
            genomes: Canonical, ``(batch, gene)``.
            accuracies: Those known by `accuracy_key`.
        """
        if not self.trains:
            return ()
        known = [k for k, metric in enumerate(self._objectives) if "accuracy" not in inputs_of(metric)]
        networks: dict[str, Design] = {}
        costs: dict[str, list[list[float]]] = {}
        for design, score in self._scored(genomes):
            if score.violation == 0:
                key = self.accuracy_key(design)
                networks.setdefault(key, design)
                costs.setdefault(key, []).append(
                    [minimised(self._objectives[k].quantity, score.metrics) for k in known]
                )
        given = {} if accuracies is None else accuracies
        return tuple(
            Candidate(design.network, np.array(costs[key]).reshape(len(costs[key]), len(known)), given.get(key))
            for key, design in networks.items()
        )

    def _trained(
        self, needed: Mapping[str, Design], accuracies: MutableMapping[str, Accuracy], context: Context
    ) -> Iterator[str]:
        """Yields the keys of ``needed`` as their accuracies come to stand in ``accuracies``."""
        yield from [key for key in needed if key in accuracies]
        todo = [key for key in needed if key not in accuracies]
        if not todo or self._accuracy is None:
            return
        networks = [needed[key].network for key in todo]
        outcomes = self._accuracy.score(self.joint.family, networks, self._seed, self._jobs, context)
        done: set[int] = set()
        # Closed at once when the run is stopped, so that no training outlives it.
        with closing(outcomes) if isinstance(outcomes, Generator) else nullcontext():
            for i, accuracy in outcomes:
                check_accuracy(accuracy, needed[todo[i]])
                accuracies[todo[i]] = accuracy
                done.add(i)
                yield todo[i]
        missing = set(range(len(todo))) - done
        if missing:
            raise ValueError(f"the accuracy model says nothing of design {needed[todo[min(missing)]].id}")

    def _evaluation(self, design: Design, score: HardwareScore, accuracy: Accuracy | None, step: int) -> Evaluation:
        metrics, violation, reason = dict(score.metrics), score.violation, score.reason
        if accuracy is not None and accuracy.violation > 0:
            violation, reason = accuracy.violation, accuracy.reason
        elif accuracy is not None:
            trained = self._with_accuracy(design, accuracy)
            violation, reason = total_excess(self.constraints, trained)
            metrics |= trained
        values = [minimised(quantity, metrics) for quantity in self.objectives]
        genes = self.space.decode(np.array(design.genome, dtype=np.int64))
        return Evaluation(
            design.id,
            design.genome,
            genes,
            metrics,
            tuple(0.0 for _ in values) if violation > 0 else tuple(values),
            violation,
            reason,
            step,
            "" if accuracy is None else accuracy.fidelity,
        )

    def _with_accuracy(self, design: Design, accuracy: Accuracy) -> dict[str, float]:
        costs: Sequence[Cost] = ()
        if any("cost" in inputs_of(metric) for metric in self._trained_metrics.values()):
            # Scores are cached without the breakdown; a metric over both is rare and the cost model cheap.
            (costs,) = self._costs([design])
        return self._compute(self._trained_metrics, design, costs, accuracy)

    def _compute(
        self,
        metrics: Mapping[str, Metric],
        design: Design,
        costs: Sequence[Cost] = (),
        accuracy: Accuracy | None = None,
    ) -> dict[str, float]:
        """Computes the metrics whose inputs are all given; refuses figures that are not finite.

        Raises:
            ValueError: One of coevo's own is not; a bug of the model.
            SpecError: One of the user's is not.
        """
        known: dict[str, Any] = {"workload": self.joint.workload(design.network)}
        known |= {} if accuracy is None else {"accuracy": accuracy}
        computed: dict[str, float] = {}
        for column, metric in metrics.items():
            values = figures(metric, design, known, costs)
            for value in values:
                if not isinstance(value, SupportsFloat) or not math.isfinite(value):
                    problem = f"{column} of design {design.id} is {value!r}; it must be a finite number"
                    own = any(metric.compute is of.compute for of in (*METRICS.values(), *ON_REQUEST.values()))
                    raise ValueError(problem) if own else SpecError(problem, file=inspect.getfile(metric.compute))
            if len(values) > 1 and self.joint.targets is not None:
                values = [self.joint.targets.total(metric.quantity, values)]
            if values:
                computed[column] = float(values[0])
        return computed


def accuracy_key(network: Network, accuracy_id: str, seed: int) -> str:
    """Returns what decides a network's accuracy: the network, the model's settings and the run's seed, digested."""
    return digest([network.key, accuracy_id, seed])


def needs_accuracy(
    objectives: Iterable[Metric], constraints: Iterable[Constraint], targets: Iterable[str] = ()
) -> bool:
    """Says whether an objective or a constraint needs the accuracy of the network."""
    by_column = computed_metrics(objectives, constraints, with_accuracy=True, targets=targets)
    wanted = {metric.quantity.column for metric in objectives} | {constraint.column for constraint in constraints}
    return any("accuracy" in inputs_of(by_column[column]) for column in wanted)


def computed_metrics(
    objectives: Iterable[Metric], constraints: Iterable[Constraint], with_accuracy: bool, targets: Iterable[str] = ()
) -> dict[str, Metric]:
    """Returns, by column, all metrics that an experiment computes: coevo's own and the user's among the objectives.

    Of coevo's own some are there only if an objective or a constraint is of them (`coevo.metrics.ON_REQUEST`).

    Of several targets (their labels), what depends on the machine is there for each of them too.
    """
    bound = {constraint.column.partition(AT)[0] for constraint in constraints}
    requested = [metric for metric in ON_REQUEST.values() if metric.quantity.column in bound]
    metrics = with_targets((*METRICS.values(), *objectives, *requested), targets)
    return {c: metric for c, metric in metrics.items() if with_accuracy or "accuracy" not in inputs_of(metric)}


def minimised(quantity: Quantity, metrics: Mapping[str, float]) -> float:
    """Returns the objective's value with the sign that makes less better; NaN if it is not known."""
    value = metrics.get(quantity.column, math.nan)
    return -value if quantity.maximise else value
