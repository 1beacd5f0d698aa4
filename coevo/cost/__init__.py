"""Cost models: from a workload and an accelerator to latency, energy and area, per layer and memory."""

from coevo.cost.detail import evaluate_mapping

__all__ = ["evaluate_mapping"]
