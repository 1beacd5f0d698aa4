"""Compares two runs of equal budget, and draws both fronts.

    python experiments/joint_against_fixed.py runs/cifar10_eyeriss runs/cifar10_fixed_eyeriss front.png

Hypervolume: error linear, latency and energy log10, each min-max over the feasible designs of both runs, reference
point (1, 1, 1).
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np

from coevo import Results, load_results
from coevo.pareto import hypervolume
from coevo.report.knee import find_knee

COLOURS = ("#0072B2", "#D55E00")  # Okabe and Ito's blue and vermillion


def scaled(results: Results) -> np.ndarray:
    """Returns the feasible designs' objectives ``(design, objective)``: error, log10 latency, log10 energy."""
    values = np.array([e.values for e in results.evaluations if e.violation == 0])
    values[:, 1:] = np.log10(values[:, 1:])
    return values


def describe(results: Results) -> None:
    """Prints the front's ends and knee."""
    designs = results.front.designs
    values = np.array([d.evaluation.values for d in designs])
    marked = {f"lowest {q.name}": int(values[:, i].argmin()) for i, q in enumerate(results.objectives)}
    knee = find_knee(np.column_stack([values[:, 0], np.log10(values[:, 1:])]))
    if knee is not None:
        marked["knee"] = knee
    for label, i in marked.items():
        metrics, accuracy = designs[i].evaluation.metrics, designs[i].accuracy
        test = 100 * accuracy.test_error if accuracy and accuracy.test_error is not None else float("nan")
        print(
            f"  {label:15} {designs[i].evaluation.id}  error {metrics['error_pct']:5.1f} % (test {test:5.1f} %)  "
            f"latency {metrics['latency_ms']:.3f} ms  energy {1e3 * metrics['energy_mj']:6.1f} uJ  "
            f"area {metrics['area_mm2']:5.2f} mm2"
        )


def draw(runs: dict[str, Results], file: Path) -> None:
    """Draws error against latency and against energy, all designs and the fronts of both runs."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for panel, column, label in zip(
        panels, ("latency_ms", "energy_mj"), ("Latency [ms]", "Energy of one inference [mJ]"), strict=True
    ):
        for (name, results), colour in zip(runs.items(), COLOURS, strict=True):
            front = {d.evaluation.id for d in results.front.designs}
            for on_front in (False, True):
                shown = [e.metrics for e in results.evaluations if e.violation == 0 and (e.id in front) == on_front]
                panel.scatter(
                    [m[column] for m in shown],
                    [m["error_pct"] for m in shown],
                    s=34 if on_front else 12,
                    color=colour,
                    alpha=0.9 if on_front else 0.25,
                    linewidths=0,
                    label=f"{name}{', front' if on_front else ', dominated'}",
                )
        panel.set_xscale("log")
        panel.set_xlabel(f"{label} (better to the left)")
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("Validation error [%] (better below)")
    panels[1].legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=130)


def main() -> None:
    """Reads two run folders and a file name from the command line."""
    folders, file = sys.argv[1:3], Path(sys.argv[3])
    runs = {name: load_results(Path(folder)) for name, folder in zip(("joint", "fixed Eyeriss"), folders, strict=True)}
    values = {name: scaled(results) for name, results in runs.items()}
    together = np.concatenate(list(values.values()))
    low, high = together.min(axis=0), together.max(axis=0)
    for name, results in runs.items():
        volume = hypervolume((values[name] - low) / (high - low), np.ones(values[name].shape[1]))
        counts = (
            f"{results.trainings} trainings, {len(results.evaluations)} designs, {len(results.front.designs)} on the"
        )
        print(f"{name}: hypervolume {volume:.3f}; {counts} front")
        describe(results)
    draw(runs, file)


if __name__ == "__main__":
    main()
