"""What a search passes around: designs, what was found out about them, and fronts. All frozen."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.machine import Accelerator
from coevo.mapping import Mapping as LoopMapping
from coevo.workload import Layer, Workload

AT = "@"
"""Stands between a quantity's name and the target that it is of, e.g. ``latency@edge``."""


@dataclass(frozen=True)
class Quantity:
    """A measured thing: its name, unit and which way is better.

    Attributes:
        name: E.g. ``latency``, or ``latency@edge`` on one target of several.
        unit: E.g. ``ms``; empty for counts.
        maximise: Whether more is better. Inside, everything is minimised; reports flip back.
        title: For axes, e.g. ``Latency``.
    """

    name: str
    unit: str = ""
    maximise: bool = False
    title: str = ""

    @property
    def column(self) -> str:
        """Name with the unit in it, e.g. ``latency_ms``: the key in `Evaluation.metrics` and column in tables."""
        unit = {"%": "pct", "1/s": "per_s"}.get(self.unit, self.unit.replace("·", "_").lower())
        name, at, target = self.name.partition(AT)
        return f"{name}_{unit}{at}{target}" if unit else self.name

    @property
    def target(self) -> str:
        """Label of the target that it is of; empty for what is of the design as a whole."""
        return self.name.partition(AT)[2]

    @property
    def label(self) -> str:
        """Text for an axis: title and unit."""
        return f"{self.title or self.name} [{self.unit}]" if self.unit else (self.title or self.name)


@dataclass(frozen=True)
class Network:
    """A point of a network space.

    Attributes:
        family: Name of the family.
        choices: Its active genes' values by name.
    """

    family: str
    choices: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """Digest of family and choices, the same in every run and process."""
        return digest({"family": self.family, "choices": dict(self.choices)})


@dataclass(frozen=True)
class Design:
    """A co-design: a network on an accelerator.

    Attributes:
        genome: The canonical joint genome, one index per gene.
        network: The network.
        accelerator: The accelerator; the first target, if there are several.
        targets: The machines that the network is for by label, where there are several.
    """

    genome: tuple[int, ...]
    network: Network
    accelerator: Accelerator
    targets: tuple[tuple[str, Accelerator], ...] = ()

    @cached_property
    def id(self) -> str:
        """Ten hexadecimal digits of what the design *is*: network choices, template and its choices."""
        if self.targets:
            return digest([self.network.key, [[t, a.name, a.choices] for t, a in self.targets]])[:10]
        return digest([self.network.key, self.accelerator.name, self.accelerator.choices])[:10]

    @property
    def machines(self) -> dict[str, Accelerator]:
        """The machines by target; one of no label where there are no targets."""
        return dict(self.targets) or {"": self.accelerator}


def digest(data: object) -> str:
    """Returns a hexadecimal digest of plain data, independent of process, platform and order of keys."""
    return hashlib.blake2b(json.dumps(data, sort_keys=True, default=str).encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, eq=False)
class LayerCost:
    """What one layer costs on one accelerator, under the mapping found for it.

    Attributes:
        layer: The layer.
        mapping: The mapping.
        compute_cycles: Cycles of the array, were memories infinitely fast.
        cycles: Cycles, the slowest of compute and every memory.
        bound_by: ``compute`` or the name of the memory that sets `cycles`.
        utilization: Multiply-accumulates over what the whole array could do in `cycles`.
        mac_energy_pj: Energy of the multiply-accumulates (or a data mover's operations) [pJ].
        leakage_pj: Static energy over `cycles` of all instances in use [pJ].
        energy_pj: Dynamic energy of accesses ``(memory, operand)`` over all instances [pJ].
        reads, writes: Words moved ``(memory, operand)`` over all instances; writes are fills and updates.
        tile_words: Words that one instance holds ``(memory, operand)``; 0 where it does not hold the operand.
        memory_cycles: Cycles that each memory alone would need ``(memory,)``.
        bytes_used: Bytes that the tiles occupy over all instances, on chip.
        part: Which accelerator of a heterogeneous one runs the layer, the mapping having the levels of this part
            alone; empty on a single accelerator.
    """

    layer: Layer
    mapping: LoopMapping
    compute_cycles: float
    cycles: float
    bound_by: str
    utilization: float
    mac_energy_pj: float
    leakage_pj: float
    energy_pj: NDArray[np.float64]
    reads: NDArray[np.float64]
    writes: NDArray[np.float64]
    tile_words: NDArray[np.float64]
    memory_cycles: NDArray[np.float64]
    bytes_used: float
    part: str = ""

    @property
    def total_energy_pj(self) -> float:
        """Dynamic, arithmetic and static energy [pJ]."""
        return float(self.energy_pj.sum()) + self.mac_energy_pj + self.leakage_pj


@dataclass(frozen=True, eq=False)
class Cost:
    """What a workload costs on an accelerator.

    Attributes:
        memories: Names of the accelerator's memories, the ``(memory,)`` axis of the layers' arrays.
        latency_cycles: Of one inference [cycle].
        energy_pj: Of one inference [pJ].
        area_mm2: Of the chip [mm2].
        peak_memory_bytes: Most bytes that the tiles of any one layer occupy on chip.
        violation: 0, or > 0 if a layer has no valid mapping; the other figures are then 0.
        reason: Which layer and memory, how much was needed and how much there is; empty if all is well. Figures that
            the model cannot tell (`CostModel.unknown`) are NaN.
        detail: Gives `layers`; searches cost thousands of designs and look into few.
        std: Standard deviations of figures that are predicted, by attribute; empty for others.
        interval_cycles: From one inference to the next in a stream of them [cycle]; None where they run one after the
            other: the latency.
    """

    memories: tuple[str, ...]
    latency_cycles: float
    energy_pj: float
    area_mm2: float
    peak_memory_bytes: float
    violation: float = 0.0
    reason: str = ""
    detail: Callable[[], tuple[LayerCost, ...]] = field(repr=False, default=tuple)
    std: Mapping[str, float] = field(default_factory=dict)
    interval_cycles: float | None = None

    @cached_property
    def layers(self) -> tuple[LayerCost, ...]:
        """The breakdown per layer, in the workload's order; empty if a layer has no mapping, or the model none."""
        return self.detail()


@dataclass(frozen=True)
class Accuracy:
    """What an accuracy model says of a network.

    Attributes:
        error: Validation error, 0..1; what a search sees.
        test_error: Error on data that the search never sees; None if the model has none.
        uncertainty: Standard deviation of `error`, 0 if unknown.
        fidelity: What kind of figure it is, e.g. ``5 epochs``.
        violation: 0, or > 0 if there is no figure (diverged, out of time, crashed).
        reason: Why there is none.
        seconds: Time it took (never part of a front).
        curve: Validation error after each epoch, 0..1, where a training took note of it.
    """

    error: float
    test_error: float | None = None
    uncertainty: float = 0.0
    fidelity: str = ""
    violation: float = 0.0
    reason: str = ""
    seconds: float = 0.0
    curve: tuple[float, ...] = ()

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Accuracy:
        """Reads what `dataclasses.asdict` gave, by way of JSON."""
        return Accuracy(**{**data, "curve": tuple(data.get("curve", ()))})


@dataclass(frozen=True)
class Evaluation:
    """What is known of one design.

    Attributes:
        id: Of the design.
        genome: Canonical joint genome.
        genes: Active genes' values by name.
        metrics: Every computed metric by `Quantity.column`; those not computed are absent.
        values: The objectives, minimised, in order; finite, and meaningless if `violation` > 0.
        violation: 0 if feasible, else the sum of the constraints' relative excess.
        reason: Which constraint, or why there is no figure; empty if feasible.
        step: Number of the `ask` that proposed it, from 0.
        fidelity: How its accuracy was measured; empty if it has none.
    """

    id: str
    genome: tuple[int, ...]
    genes: Mapping[str, Any]
    metrics: Mapping[str, float]
    values: tuple[float, ...]
    violation: float
    reason: str
    step: int
    fidelity: str = ""


@dataclass(frozen=True)
class Final:
    """What training a network anew, in full, over several seeds said of it.

    Attributes:
        errors: Validation error per seed, 0..1; empty if every training failed.
        test_errors: Test error per seed, 0..1; empty if the model has none.
        fidelity: What kind of figures they are.
        reason: Why trainings failed; empty if none did.
        stands: Whether no other design of the front is better in all objectives once errors are these.
    """

    errors: tuple[float, ...]
    test_errors: tuple[float, ...]
    fidelity: str
    reason: str = ""
    stands: bool = True

    @property
    def error(self) -> float:
        """Mean validation error, 0..1; NaN if every training failed."""
        return float(np.mean(self.errors)) if self.errors else math.nan


EXTRAS = (
    Quantity("test_error", "%", title="Test error"),
    Quantity("final_error", "%", title="Final error"),
    Quantity("final_error_std", "%", title="Final error, std"),
    Quantity("final_test_error", "%", title="Final test error"),
    Quantity("final_test_error_std", "%", title="Final test error, std"),
    Quantity("final_front", title="On the final front"),
    Quantity("true_latency", "ms", title="True latency"),
    Quantity("true_energy", "mJ", title="True energy"),
    Quantity("true_front", title="On the true front"),
    Quantity("latency_std", "ms", title="Latency, predicted std"),
    Quantity("energy_std", "mJ", title="Energy, predicted std"),
)
"""What may be known of designs of the front alone: by `FrontDesign.extras`, in this order."""


@dataclass(frozen=True)
class FrontDesign:
    """A design of the front with all that is known of it.

    Attributes:
        evaluation: Its figures.
        design: Network and accelerator.
        workload: What is scored (at the deployment's resolution and classes).
        costs: The breakdown on each of the design's machines.
        accuracy: Validation and test error; None if no accuracy was asked for.
        final: What training it anew in full said; None if that was not asked for, or is still to come.
        truth: Where figures are predicted: how surely, those of the model that the prediction is of, and whether the
            design is on the front by them; by the columns of `EXTRAS`. `costs` are then that model's.
    """

    evaluation: Evaluation
    design: Design
    workload: Workload
    costs: tuple[Cost, ...]
    accuracy: Accuracy | None
    final: Final | None = None
    truth: Mapping[str, float] = field(default_factory=dict)

    @property
    def cost(self) -> Cost:
        """The breakdown on the accelerator, or on the first of several targets."""
        return self.costs[0]

    @cached_property
    def extras(self) -> dict[str, float]:
        """What is known beyond `Evaluation.metrics`, by the columns of `EXTRAS`."""
        known: dict[str, float] = dict(self.truth)
        if self.accuracy is not None and self.accuracy.test_error is not None:
            known["test_error_pct"] = 100 * self.accuracy.test_error
        if self.final is not None:
            for stem, errors in (("final_error", self.final.errors), ("final_test_error", self.final.test_errors)):
                if errors:
                    known[f"{stem}_pct"] = 100 * float(np.mean(errors))
                if len(errors) > 1:
                    known[f"{stem}_std_pct"] = 100 * float(np.std(errors, ddof=1))
            known["final_front"] = float(self.final.stands)
        return known


@dataclass(frozen=True)
class Front:
    """The non-dominated feasible designs.

    Attributes:
        objectives: What was optimised.
        designs: Sorted by the first objective, then the next.
    """

    objectives: tuple[Quantity, ...]
    designs: tuple[FrontDesign, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row per design: id, every gene, every metric by its column; fit for ``pandas.DataFrame``."""
        return [
            {"id": d.evaluation.id, **d.evaluation.genes, **d.evaluation.metrics, **d.extras}
            | ({"fidelity": d.evaluation.fidelity} if d.evaluation.fidelity else {})
            for d in self.designs
        ]


@dataclass(frozen=True)
class Results:
    """All of one run, as a report needs it.

    Attributes:
        name: Of the experiment.
        facts: What to say at the top: optimiser, seed, budget, versions, data set, experiment hash; by label.
        settings: The experiment as YAML text.
        quantities: Every metric that was computed, by column.
        objectives: What was optimised, in the order of `Evaluation.values`.
        constraints: Human-readable, e.g. ``area <= 16 mm2``.
        genes: Names of all genes, in genome order.
        evaluations: Every distinct design, in the order of evaluation.
        front: The non-dominated ones, complete.
        space_sizes: Number of distinct designs of the ``network``, ``hardware`` and ``joint`` spaces.
        trainings: Networks trained.
        trainings_saved: Networks never trained because no hardware they came with was feasible.
        training_seconds: Time that the trainings took, all together [s]; no figure depends on it.
        origins: Of the designs that a warm start took from other runs, by id: ``<run folder>/<design>``.
    """

    name: str
    facts: Mapping[str, str]
    settings: str
    quantities: Mapping[str, Quantity]
    objectives: tuple[Quantity, ...]
    constraints: tuple[str, ...]
    genes: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    front: Front
    space_sizes: Mapping[str, int]
    trainings: int
    trainings_saved: int
    training_seconds: float = 0.0
    origins: Mapping[str, str] = field(default_factory=dict)
