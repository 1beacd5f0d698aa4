"""Compares runs of one problem by the hypervolumes of their fronts and the time that their trainings took.

    python experiments/hypervolumes.py runs/train_0 runs/cascade_0 runs/train_1 runs/cascade_1

Objectives must be error, latency and energy. Two hypervolumes a run: by the errors that the search saw, and by the mean
of the final trainings (section ``final``), which are of one fidelity whatever the search's was. Error linear, latency
and energy log10; each is scaled from the best to the worst of the feasible designs of all runs (final errors by those
of all fronts); reference point (1, 1, 1).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from coevo import Results, load_results
from coevo.pareto import hypervolume


def searched(results: Results) -> np.ndarray:
    """Returns error [%], log10 latency and log10 energy of the feasible designs ``(design, objective)``."""
    values = np.array([design.values for design in results.evaluations if design.violation == 0])
    return np.column_stack([values[:, 0], np.log10(values[:, 1:])])


def trained(results: Results) -> np.ndarray:
    """Returns the same of the front's designs, with their final errors; none where those are not known."""
    rows = [
        (100 * design.final.error, *np.log10(design.evaluation.values[1:]))
        for design in results.front.designs
        if design.final is not None and design.final.errors
    ]
    return np.array(rows).reshape(-1, 3)


def spread(results: Results) -> float:
    """Returns the mean standard deviation of final errors over seeds [%]; NaN if there are none."""
    known = [d.extras["final_error_std_pct"] for d in results.front.designs if "final_error_std_pct" in d.extras]
    return float(np.mean(known)) if known else float("nan")


def volume(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Returns the hypervolume of points scaled so that ``low`` is 0 and ``high`` is 1."""
    inside = (points - low) / np.where(high > low, high - low, 1)
    inside = inside[(inside < 1).all(axis=1)]
    return hypervolume(inside, np.ones(points.shape[1])) if len(inside) else 0.0


def main() -> None:
    """Prints a line per run."""
    folders = [Path(argument) for argument in sys.argv[1:]]
    if not folders:
        sys.exit(__doc__)
    runs = [load_results(folder) for folder in folders]
    found = [searched(results) for results in runs]
    finals = [trained(results) for results in runs]
    everything, ends = np.concatenate(found), np.concatenate(finals)
    low, high = everything.min(axis=0), everything.max(axis=0)
    final_low, final_high = low.copy(), high.copy()
    if len(ends):
        final_low[0], final_high[0] = ends[:, 0].min(), max(ends[:, 0].max(), ends[:, 0].min() + 1)
    print("run                  networks   s of training  feasible  front  hypervolume  final hypervolume  std [%]")
    for folder, results, points, final in zip(folders, runs, found, finals, strict=True):
        after = f"{volume(final, final_low, final_high):.3f}" if len(final) else "-"
        print(
            f"{folder.name:20} {results.trainings:8}  {results.training_seconds:14.0f}  {len(points):8}  "
            f"{len(results.front.designs):5}  {volume(points, low, high):11.3f}  {after:>17}  {spread(results):7.2f}"
        )


if __name__ == "__main__":
    main()
