"""Several given machines that one network is for: figures on each, and what they come to over all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

from coevo.accelerator.machine import Accelerator
from coevo.design import AT, Cost, Design, Quantity
from coevo.metrics import inputs_of
from coevo.protocols import Metric

Across = Literal["worst", "mean"]


@dataclass(frozen=True)
class Targets:
    """The machines, each given whole; a network is mapped on each of them by itself.

    Attributes:
        machines: By label, at least one.
        across: What a metric is over all of them: that of the target where it is ``worst``, or the ``mean``.
    """

    machines: Mapping[str, Accelerator]
    across: Across = "worst"

    def total(self, quantity: Quantity, values: Sequence[float]) -> float:
        """Returns what a metric comes to whose values ``(target,)`` are these."""
        if self.across == "mean":
            return fmean(values)
        return min(values) if quantity.maximise else max(values)


def needs_machine(metric: Metric) -> bool:
    """Says whether a metric may differ from target to target."""
    return bool(inputs_of(metric) & {"cost", "accelerator"})


def on_target(metric: Metric, label: str) -> Metric:
    """Returns the metric on one target alone, e.g. ``latency@edge``."""
    quantity = metric.quantity
    title = f"{quantity.title or quantity.name}, {label}"
    return replace(metric, quantity=replace(quantity, name=f"{quantity.name}{AT}{label}", title=title))


def with_targets(metrics: Iterable[Metric], labels: Iterable[str]) -> dict[str, Metric]:
    """Returns metrics by column, and behind them those that depend on the machine on every target by itself."""
    found = {metric.quantity.column: metric for metric in metrics}
    for label in labels:
        for metric in [metric for metric in found.values() if needs_machine(metric) and not metric.quantity.target]:
            own = on_target(metric, label)
            found.setdefault(own.quantity.column, own)
    return found


def figures(metric: Metric, design: Design, known: Mapping[str, Any], costs: Sequence[Cost]) -> list[Any]:
    """Returns what a metric is on each machine that it is of; nothing if something that it needs is not known.

    Args:
        metric: Of one target, or of the design as a whole.
        design: The design.
        known: Inputs that are the same on every machine: ``workload``, ``accuracy``.
        costs: Of the design on each of its machines, in their order; empty if not known.

    Returns:
        What the metric's function gave ``(machine,)``, not checked; once if it needs no machine.
    """
    wanted = inputs_of(metric)
    if not wanted <= {*known, "accelerator", *(("cost",) if costs else ())}:
        return []
    machines, label = design.machines, metric.quantity.target
    chosen = [label] if label else list(machines) if needs_machine(metric) else list(machines)[:1]
    by_label = dict(zip(machines, costs, strict=True)) if costs else {}
    found = []
    for name in chosen:
        given = {**known, "accelerator": machines[name], "cost": by_label.get(name)}
        found.append(metric.compute(**{part: given[part] for part in wanted}))
    return found
