"""coevo: Pareto fronts of co-designs, network and accelerator searched together.

    import coevo

    experiment = coevo.load_experiment("my.yaml")
    with experiment.study("runs/my", jobs=2) as study:   # made, or resumed
        front = study.run()                              # or: for progress in study.iterate(): ...
    front.rows()                                         # a dict per design, for pandas.DataFrame
    coevo.write_report(coevo.load_results("runs/my"), "runs/my")

    evaluator = experiment.evaluator                     # without a run
    genomes = evaluator.space.sample(numpy.random.default_rng(0), 1000)
    values, violation = evaluator.hardware(genomes)      # a batch, by the cost model alone
    evaluator.inspect(genomes[0], train=False)           # one design with its breakdown

Names are loaded when they are first used: importing coevo costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coevo.accelerator import Accelerator, load_template
    from coevo.cost import evaluate_mapping
    from coevo.design import Cost, Design, Evaluation, Front, Results
    from coevo.errors import CoevoError
    from coevo.experiment import Experiment, load_experiment
    from coevo.metrics import metric
    from coevo.report import write_report
    from coevo.study import Study, load_results
    from coevo.workload import Layer, Workload

_HOMES = {
    "Accelerator": "accelerator",
    "load_template": "accelerator",
    "evaluate_mapping": "cost",
    "Cost": "design",
    "Design": "design",
    "Evaluation": "design",
    "Front": "design",
    "Results": "design",
    "CoevoError": "errors",
    "Experiment": "experiment",
    "load_experiment": "experiment",
    "metric": "metrics",
    "write_report": "report",
    "Study": "study",
    "load_results": "study",
    "Layer": "workload",
    "Workload": "workload",
}

__all__ = [
    "Accelerator",
    "CoevoError",
    "Cost",
    "Design",
    "Evaluation",
    "Experiment",
    "Front",
    "Layer",
    "Results",
    "Study",
    "Workload",
    "evaluate_mapping",
    "load_experiment",
    "load_results",
    "load_template",
    "metric",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'coevo' has no attribute {name!r}")
    return getattr(importlib.import_module(f"coevo.{_HOMES[name]}"), name)
