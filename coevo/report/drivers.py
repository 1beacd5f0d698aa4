"""What drives what: how much of an objective's spread over the evaluated designs each gene explains by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coevo.design import Results
from coevo.report.points import Array, Points

MIN_DESIGNS = 50
"""Feasible designs below which the shares are mostly chance and not worth a figure."""


@dataclass(frozen=True, eq=False)
class Drivers:
    """Genes by what they explain.

    Attributes:
        genes: Names, the one that explains most of any objective first.
        share: Share of each objective's variance that the gene explains, 0..1 ``(gene, objective)``.
    """

    genes: tuple[str, ...]
    share: Array


def drivers(results: Results, points: Points) -> Drivers:
    """Returns the genes that take several values over the feasible designs, by their main effect.

    The effect is the adjusted correlation ratio: variance between the groups of equal gene value over the whole,
    corrected for the number of groups (Kelley's epsilon squared, PNAS 21, 1935). Objectives with logarithmic axes
    are compared by their logarithms. A search samples good regions more densely, so the figures are a hint.
    """
    rows = np.flatnonzero(points.feasible)
    columns = {name: _groups([results.evaluations[row].genes.get(name) for row in rows]) for name in results.genes}
    columns = {name: groups for name, groups in columns.items() if len(groups) and groups.max() > 0}
    natural = points.natural[rows].copy()
    for j in range(natural.shape[1]):
        if points.logarithmic(j):
            natural[:, j] = np.log(natural[:, j])
    share = np.array([[_explained(groups, y) for y in natural.T] for groups in columns.values()])
    share = share.reshape(len(columns), natural.shape[1])
    order = np.argsort(-share.max(axis=1, initial=0.0), kind="stable")
    names = tuple(columns)
    return Drivers(tuple(names[i] for i in order), share[order])


def _groups(values: list[object]) -> NDArray[np.int64]:
    """Numbers equal values alike ``(design,)``; an inactive gene (None) is a value of its own."""
    number = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return np.array([number[value] for value in values], dtype=np.int64)


def _explained(groups: NDArray[np.int64], y: Array) -> float:
    """Epsilon squared of one gene on one objective, 0..1; 0 where there is nothing to explain."""
    counts = np.bincount(groups)
    spread = float(((y - y.mean()) ** 2).sum())
    free = len(y) - len(counts)
    if free <= 0 or spread <= 1e-18 * float((y**2).sum()):
        return 0.0
    means = np.bincount(groups, weights=y) / counts
    within = float(((y - means[groups]) ** 2).sum())
    return max(0.0, 1.0 - (within / free) / (spread / (len(y) - 1)))
