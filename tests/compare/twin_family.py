"""A family in which two networks each have the same layers: their errors differ, by `TwinCost` latencies do.

The layers of the one are branches, those of the other a chain: on a machine of several parts that matters.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluate"))
from codesign_fakes import CostModel, FamilySettings
from codesign_fakes import Family as Plain

from coevo.protocols import Task
from coevo.space import Gene


class Family(Plain):
    Settings = FamilySettings

    def __init__(self, settings: Any, task: Task) -> None:
        super().__init__(settings, task)
        self.genes = (*self.genes, Gene("twin", ("one", "other"), ordered=False))

    def workload(self, choices, task=None):
        found = super().workload(choices, task)
        return replace(found, after=((),) * len(found.layers)) if choices["twin"] == "one" else found


class TwinCost(CostModel):
    """One twin of two takes half the time: the network itself is looked at, not only its layers."""

    of_network = True

    def evaluate(self, pairs, jobs=1):
        shares = [0.5 if workload.source.choices["twin"] == "one" else 1.0 for workload, _ in pairs]
        costs = super().evaluate(pairs, jobs)
        return [
            replace(cost, latency_cycles=cost.latency_cycles * share) for cost, share in zip(costs, shares, strict=True)
        ]
