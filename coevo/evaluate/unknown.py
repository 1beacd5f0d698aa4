"""Metrics that a cost model cannot tell: a measured time comes without an energy, say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from coevo.design import Accuracy, Cost
from coevo.evaluate.joint import JointSpace
from coevo.metrics import inputs_of
from coevo.protocols import CostModel, Metric


def known_metrics(metrics: Mapping[str, Metric], cost: CostModel, joint: JointSpace) -> dict[str, Metric]:
    """Returns, by column, those of the metrics that need nothing of what the cost model cannot tell.

    They are found by computing each of a cost where just that is NaN: what then is NaN needed it.
    """
    unknown = frozenset(getattr(cost, "unknown", ()))
    if not unknown:
        return dict(metrics)
    design, _ = joint.attempt(np.zeros(len(joint.space.genes), dtype=np.int64))
    names = tuple(memory.name for memory in design.accelerator.memories)
    gaps: Any = dict.fromkeys(unknown, math.nan)
    probe = replace(Cost(names, 1.0, 1.0, design.accelerator.area_mm2, 1.0), **gaps)
    given = {
        "cost": probe,
        "accuracy": Accuracy(0.5),
        "workload": joint.workload(design.network),
        "accelerator": design.accelerator,
    }
    return {column: metric for column, metric in metrics.items() if not _needs_unknown(metric, given)}


def _needs_unknown(metric: Metric, given: Mapping[str, Any]) -> bool:
    """Says whether a metric is NaN where what is unknown is; one that fails on the probe is judged when it is used."""
    wanted = inputs_of(metric)
    if "cost" not in wanted:
        return False
    try:
        return math.isnan(float(metric.compute(**{name: given[name] for name in wanted})))
    except Exception:  # whatever a user's function raises
        return False
