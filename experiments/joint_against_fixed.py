"""Compares a joint run with one on fixed hardware at equal trainings, and draws both fronts.

    python experiments/joint_against_fixed.py runs/cifar10_eyeriss runs/cifar10_fixed_eyeriss front.png

Both are cut where the shorter one ends: at its number of distinct trained networks. Hypervolume: error linear, latency
and energy log10, each min-max over the feasible designs of both, reference point (1, 1, 1).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np

from coevo import Evaluation, Results, load_results
from coevo.pareto import hypervolume, nondominated
from coevo.report.knee import find_knee

STYLES = (("#0072B2", "o"), ("#D55E00", "D"))  # Okabe and Ito's blue and vermillion; markers tell them apart in grey


@dataclass(frozen=True)
class Cut:
    """The first part of a run.

    Attributes:
        designs: Its feasible designs, in the order of evaluation.
        values: Error, log10 latency and log10 energy ``(design, objective)``.
        front: Rows of the non-dominated ones, by error.
        trainings: Distinct networks among them.
    """

    designs: tuple[Evaluation, ...]
    values: np.ndarray
    front: tuple[int, ...]
    trainings: int


def network(design: Evaluation) -> tuple[object, ...]:
    """Returns what tells networks apart."""
    return tuple(value for gene, value in design.genes.items() if gene.startswith("net."))


def cut(results: Results, trainings: int) -> Cut:
    """Returns a run up to so many distinct trained networks."""
    known: set[tuple[object, ...]] = set()
    designs = []
    for design in results.evaluations:
        if design.violation == 0 and (network(design) in known or len(known) < trainings):
            known.add(network(design))
            designs.append(design)
    values = np.array([design.values for design in designs])
    values[:, 1:] = np.log10(values[:, 1:])
    front = np.flatnonzero(nondominated(values, np.zeros(len(values))))
    return Cut(tuple(designs), values, tuple(front[np.argsort(values[front, 0], kind="stable")].tolist()), len(known))


def describe(part: Cut) -> None:
    """Prints the front's ends and knee."""
    values = part.values[list(part.front)]
    marked = {name: int(values[:, i].argmin()) for i, name in enumerate(("error", "latency", "energy"))}
    knee = find_knee(values)
    for label, i in (
        {f"lowest {name}": i for name, i in marked.items()} | ({} if knee is None else {"knee": knee})
    ).items():
        design = part.designs[part.front[i]]
        metrics = design.metrics
        print(
            f"  {label:15} {design.id}  error {metrics['error_pct']:.1f} %  latency {metrics['latency_ms']:.3f} ms  "
            f"energy {1e3 * metrics['energy_mj']:.1f} uJ  area {metrics['area_mm2']:.1f} mm2"
        )


def draw(parts: dict[str, Cut], file: Path) -> None:
    """Draws error against latency and against energy, all designs and the fronts of both runs."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for panel, column, label in zip(
        panels, ("latency_ms", "energy_mj"), ("Latency [ms]", "Energy of one inference [mJ]"), strict=True
    ):
        for (name, part), (colour, marker) in zip(parts.items(), STYLES, strict=True):
            for on_front in (False, True):
                shown = [d.metrics for i, d in enumerate(part.designs) if (i in part.front) == on_front]
                panel.scatter(
                    [m[column] for m in shown],
                    [m["error_pct"] for m in shown],
                    s=36 if on_front else 12,
                    marker=marker,
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
    runs = [load_results(Path(folder)) for folder in sys.argv[1:3]]
    least = min(results.trainings for results in runs)
    parts = {name: cut(results, least) for name, results in zip(("joint", "fixed Eyeriss"), runs, strict=True)}
    together = np.concatenate([part.values for part in parts.values()])
    low, high = together.min(axis=0), together.max(axis=0)
    for name, part in parts.items():
        volume = hypervolume((part.values - low) / (high - low), np.ones(part.values.shape[1]))
        counts = f"{part.trainings} trainings, {len(part.designs)} designs, {len(part.front)} on the front"
        print(f"{name}: hypervolume {volume:.3f}; {counts}")
        describe(part)
    draw(parts, Path(sys.argv[3]))


if __name__ == "__main__":
    main()
