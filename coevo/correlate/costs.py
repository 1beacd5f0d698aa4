"""How far can a cost model be trusted? Its figures of random designs of an experiment against another model's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coevo import sections
from coevo.accelerator.machine import Accelerator
from coevo.correlate.statistics import Agreement, Array, agreement
from coevo.design import Cost
from coevo.errors import SpecError
from coevo.experiment import Experiment
from coevo.metrics import METRICS
from coevo.protocols import CostModel
from coevo.report.tables import aligned, csv_text
from coevo.study.costs import attach
from coevo.workload import Workload

COUNTS = {"MACs": "macs", "parameters": "parameters"}
"""Metrics of the network alone that are judged beside the models, by label."""

FIGURES = ("latency", "energy")
"""Metrics that models are compared by."""

_LEAST = 3
"""Designs that a correlation needs."""

Pairs = Sequence[tuple[Workload, Accelerator]]


@dataclass(frozen=True, eq=False)
class Verdict:
    """One model's figures of one metric.

    Attributes:
        metric: Column of the metric.
        label: Of the model.
        agreement: With the reference.
        mape: Mean absolute error relative to the reference; None for a count, which has another unit.
        bias: Mean error relative to the reference: of a lookup table, what its sums leave out; None for a count.
        worst: Largest absolute error relative to the reference; None for a count.
        designs: Of which both have a figure.
        failed: Of which the reference has one and the model none.
        ms_per_design: Time that the model took per design [ms]; 0 for a count.
    """

    metric: str
    label: str
    agreement: Agreement
    mape: float | None
    bias: float | None
    worst: float | None
    designs: int
    failed: int
    ms_per_design: float


def compare_costs(
    experiment: Experiment,
    reference: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    count: int,
    seed: int,
    jobs: int = 1,
    tell: Callable[[str, int, int], None] | None = None,
) -> list[Verdict]:
    """Scores random designs of an experiment by a reference and by models.

    Args:
        experiment: Designs are drawn from its space; its own cost model is not asked unless it is among the models.
        reference: Section of the cost model that is believed.
        models: Sections of those that are judged, by label.
        count: Designs.
        seed: Of the draw.
        jobs: Processes to use; no computed figure depends on it.
        tell: Called with (label, models done, models) after each.

    Returns:
        By metric that the reference tells, the models in their order, then the counts.

    Raises:
        SpecError: A section is wrong, or the reference has fewer than three figures.
        DataError: What a model reads is absent.
    """
    designs = experiment.joint.draw(count, seed)
    pairs = [(experiment.joint.workload(d.network), m) for d in designs for m in d.machines.values()]
    truth, _ = _scored(experiment, reference, pairs, jobs)
    if sum(cost.violation == 0 for cost in truth) < _LEAST:
        reason = next((cost.reason for cost in truth if cost.violation > 0), "there are no more designs")
        raise SpecError(
            f"the reference has figures of fewer than {_LEAST} designs; draw more, or take another ({reason})"
        )
    scored = {}
    for done, (label, section) in enumerate(models.items(), 1):
        scored[label] = _scored(experiment, section, pairs, jobs)
        if tell is not None:
            tell(label, done, len(models))
    return [verdict for name in FIGURES for verdict in _verdicts(name, pairs, truth, scored)]


def _scored(experiment: Experiment, section: Mapping[str, Any], pairs: Pairs, jobs: int) -> tuple[list[Cost], float]:
    """Returns the costs by a model, and the time that it took per design [ms]."""
    model: CostModel = sections.build("cost", section, experiment.file)
    attach(model, experiment.joint, experiment.file, {})
    began = time.perf_counter()
    costs = model.evaluate(pairs, jobs)
    return costs, 1e3 * (time.perf_counter() - began) / len(pairs)


def _verdicts(
    name: str, pairs: Pairs, truth: Sequence[Cost], scored: Mapping[str, tuple[Sequence[Cost], float]]
) -> list[Verdict]:
    known = _values(name, pairs, truth)
    told = np.isfinite(known)
    if not told.any():
        return []
    column = METRICS[name].quantity.column
    found = []
    for label, (costs, ms) in scored.items():
        values = _values(name, pairs, costs)
        both = told & np.isfinite(values)
        if both.sum() >= _LEAST:
            error = (values[both] - known[both]) / known[both]
            errors = float(np.abs(error).mean()), float(error.mean()), float(np.abs(error).max())
            found.append(
                Verdict(column, label, agreement(values[both], known[both]), *errors, int(both.sum()),
                        int((told & ~both).sum()), ms)
            )  # fmt: skip
        elif any(cost.violation > 0 for cost in costs):
            reason = next(cost.reason for cost in costs if cost.violation > 0)
            raise SpecError(f"{label}: has no figures to compare: {reason}")
    for label, count in COUNTS.items():
        values = np.array([METRICS[count].compute(workload=workload) for workload, _ in pairs], dtype=np.float64)
        found.append(
            Verdict(column, label, agreement(values[told], known[told]), None, None, None, int(told.sum()), 0, 0.0)
        )
    return found


def _values(name: str, pairs: Pairs, costs: Sequence[Cost]) -> Array:
    """A metric of costs ``(design,)``, NaN where there is none."""
    compute = METRICS[name].compute
    wanted = ("cost", "accelerator") if name == "latency" else ("cost",)
    rows = []
    for (_, machine), cost in zip(pairs, costs, strict=True):
        given: dict[str, Any] = {"cost": cost, "accelerator": machine}
        rows.append(np.nan if cost.violation > 0 else compute(**{part: given[part] for part in wanted}))
    return np.array(rows, dtype=np.float64)


HEAD = ("metric", "model", "Spearman", "95 %", "Kendall", "MAPE", "bias", "worst", "designs", "failed", "ms/design")


def text_table(verdicts: Sequence[Verdict]) -> str:
    """Returns the verdicts as lines for a terminal."""
    return aligned([HEAD, *(_row(verdict) for verdict in verdicts)])


def csv_table(verdicts: Sequence[Verdict]) -> str:
    """Returns the verdicts as CSV, figures unrounded."""
    columns = ("metric", "model", "spearman", "spearman_low", "spearman_high", "kendall", "mape", "bias", "worst",
               "designs", "failed", "ms_per_design")  # fmt: skip
    rows = (
        (v.metric, v.label, v.agreement.spearman, v.agreement.low, v.agreement.high, v.agreement.kendall,
         *("" if x is None else x for x in (v.mape, v.bias, v.worst)), v.designs, v.failed, v.ms_per_design)
        for v in verdicts
    )  # fmt: skip
    return csv_text(columns, rows)


def _row(verdict: Verdict) -> tuple[str, ...]:
    found = verdict.agreement
    errors = ("" if x is None else f"{x:.2%}" for x in (verdict.mape, verdict.bias, verdict.worst))
    return (
        verdict.metric,
        verdict.label,
        f"{found.spearman:.3f}",
        f"{found.low:.3f}..{found.high:.3f}",
        f"{found.kendall:.3f}",
        *errors,
        str(verdict.designs),
        str(verdict.failed or ""),
        f"{verdict.ms_per_design:.3g}" if verdict.ms_per_design else "",
    )
