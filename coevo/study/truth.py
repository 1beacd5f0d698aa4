"""A front that was found by predicted figures, scored by the cost model that the predictions are of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from coevo.design import AT, Cost, FrontDesign, Quantity
from coevo.errors import RunError
from coevo.evaluate import JointSpace
from coevo.evaluate.targets import figures
from coevo.metrics import METRICS
from coevo.pareto import nondominated
from coevo.protocols import CostModel

SHOWN = ("latency", "energy")
"""Metrics whose true figures a report gives, by columns of `coevo.design.EXTRAS`."""


def with_truth(
    designs: Sequence[FrontDesign], objectives: Sequence[Quantity], cost: CostModel, joint: JointSpace, jobs: int
) -> tuple[FrontDesign, ...]:
    """Scores a front also by the model that the cost model stands for, if it stands for one.

    The designs' breakdowns are then that model's, and `FrontDesign.truth` holds its figures: no more than
    ``true_front`` of a design that it finds to be infeasible. Nothing is said of a front that is still to be measured.
    """
    model: CostModel | None = getattr(cost, "truth", None)
    if model is None or not designs:
        return tuple(designs)
    pairs = [(design.workload, machine) for design in designs for machine in design.design.machines.values()]
    try:
        found = iter(model.evaluate(pairs, jobs))
    except RunError:  # only someone who looks into the folder: the run itself measures
        return tuple(designs)
    costs = [tuple(next(found) for _ in design.design.machines) for design in designs]
    violation = np.array([sum(cost.violation for cost in own) for own in costs])
    values = np.zeros((len(designs), len(objectives)))
    truth = [_deviations(design) for design in designs]
    for i, (design, own) in enumerate(zip(designs, costs, strict=True)):
        if violation[i] == 0:
            values[i] = [_objective(design, own, k, quantity, joint) for k, quantity in enumerate(objectives)]
            for name in SHOWN:
                quantity = METRICS[name].quantity
                value = _figure(design, own, quantity, joint)
                truth[i] |= {} if math.isnan(value) else {f"true_{quantity.column}": value}
    stands = nondominated(values, violation)
    return tuple(
        replace(design, costs=own, truth={**known, "true_front": float(on_front)})
        for design, own, known, on_front in zip(designs, costs, truth, stands, strict=True)
    )


def _deviations(design: FrontDesign) -> dict[str, float]:
    """How surely figures are predicted: the largest deviation over the design's machines."""
    machines = design.design.machines.values()
    pairs = [(cost.std, machine.clock_mhz * 1e3) for cost, machine in zip(design.costs, machines, strict=True)]
    latency = [std["latency_cycles"] / clock for std, clock in pairs if "latency_cycles" in std]
    energy = [std["energy_pj"] * 1e-9 for std, _ in pairs if "energy_pj" in std]
    known = {"latency_std_ms": latency, "energy_std_mj": energy}
    return {column: max(values) for column, values in known.items() if values}


def _objective(design: FrontDesign, costs: Sequence[Cost], k: int, quantity: Quantity, joint: JointSpace) -> float:
    """The k-th objective, minimised, by the true costs; a user's own metric stays as the search saw it."""
    value = _figure(design, costs, quantity, joint)
    if math.isnan(value):
        return design.evaluation.values[k]
    return -value if quantity.maximise else value


def _figure(design: FrontDesign, costs: Sequence[Cost], quantity: Quantity, joint: JointSpace) -> float:
    """One of coevo's metrics by other costs than the search's; NaN if it is none or not known."""
    own = METRICS.get(quantity.name.partition(AT)[0])
    if own is None:
        return math.nan
    known = {"workload": design.workload} | ({} if design.accuracy is None else {"accuracy": design.accuracy})
    values = figures(replace(own, quantity=quantity), design.design, known, costs)
    if len(values) > 1 and joint.targets is not None:
        return joint.targets.total(quantity, values)
    return float(values[0]) if values else math.nan
