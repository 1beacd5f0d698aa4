"""Networks as numbers: what a predictor learns from."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coevo.design import Network
from coevo.networks.paths import structure
from coevo.protocols import NetworkFamily
from coevo.space import Space
from coevo.workload import Workload

Array = NDArray[np.float64]

Features = Mapping[str, float]
"""A network's features by name; an absent one is 0."""

Proxies = Callable[[Sequence[Network]], Mapping[str, Array]]
"""Gives zero-cost proxies ``(network,)`` by name."""

View = Literal["graph", "workload", "genes"]
"""Kinds of features: shape of the graph, figures of the layers, the decisions themselves."""

FeatureChoice = Literal["auto", "graph", "genes", "genes+workload", "graph+genes"]

VIEWS: Mapping[str, tuple[View, ...]] = {
    "graph": ("graph",),
    "graph+genes": ("graph", "genes"),
    "genes": ("genes",),
    "genes+workload": ("genes", "workload"),
}
"""What may be learned from, by its name in an experiment."""


def features_of(family: NetworkFamily, choices: Mapping[str, Any], view: View) -> Features:
    """Returns one kind of features of a network by gene values; none of its graph if the family has no ``graph``."""
    if view == "genes":
        return gene_features(Space(family.genes), choices)
    if view == "workload":
        return workload_features(family.workload(choices))
    graph = getattr(family, "graph", None)
    return {} if graph is None else structure(graph(choices))


def gene_features(space: Space, choices: Mapping[str, Any]) -> Features:
    """Returns 0..1 for an ordered gene's place, 1 for an unordered one's value, and 1 for a gene switched on."""
    features: dict[str, float] = {}
    for gene in space.genes:
        if gene.name not in choices:
            continue
        if gene.ordered and len(gene.choices) > 1:
            features[f"gene {gene.name}"] = gene.choices.index(choices[gene.name]) / (len(gene.choices) - 1)
        elif not gene.ordered:
            features[f"gene {gene.name} {choices[gene.name]}"] = 1.0
        if gene.parent is not None:
            features[f"gene {gene.name} active"] = 1.0
    return features


def workload_features(workload: Workload) -> Features:
    """Returns counts of layers by kind and window, and logarithms of MACs (also by the map's height) and parameters."""
    features: dict[str, float] = defaultdict(float)
    macs: dict[str, int] = defaultdict(int)
    for layer in workload.layers:
        kind = f"depthwise {layer.kind}" if layer.kind == "conv" and layer.g > 1 else layer.kind
        features[f"layers {kind} {layer.r}"] += 1
        if layer.macs:
            macs[f"macs of layers at {layer.p}"] += layer.macs
            macs["macs"] += layer.macs
    macs["parameters"] = workload.parameters
    return {**features, **{name: math.log(max(1, count)) for name, count in macs.items()}}


@dataclass(frozen=True, eq=False)
class Encoding:
    """Which features make up the columns: those of the networks learned from.

    Attributes:
        names: Of the columns, sorted.
        middle: Mean of each column ``(feature,)``, for a figure that could not be had (NaN or infinite).
    """

    names: tuple[str, ...]
    middle: Array

    @classmethod
    def of(cls, networks: Sequence[Features]) -> Encoding:
        """Returns the encoding by all features of some networks."""
        names = tuple(sorted({name for features in networks for name in features}))
        columns = ([features.get(name, 0.0) for features in networks] for name in names)
        finite = ([value for value in column if math.isfinite(value)] for column in columns)
        return cls(names, np.array([np.mean(column) if column else 0.0 for column in finite]))

    def __call__(self, networks: Sequence[Features]) -> Array:
        """Returns ``(network, feature)``, finite; features that have no column are left out."""
        rows = [[features.get(name, 0.0) for name in self.names] for features in networks]
        encoded = np.array(rows, dtype=np.float64).reshape(len(networks), len(self.names))
        return np.where(np.isfinite(encoded), encoded, self.middle)


class NetworkFeatures:
    """The features of a family's networks in one run, each computed once.

    Args:
        family: The family.
        seed: The run's, which proxies depend on.
    """

    def __init__(self, family: NetworkFamily, seed: int) -> None:
        self.family = family
        self.seed = seed
        self._features: dict[tuple[View, str], Features] = {}
        self._proxies: dict[str, Features] = {}

    def of(self, networks: Sequence[Network], views: Sequence[View], proxies: Proxies | None = None) -> list[Features]:
        """Returns the features of networks: those of some views, and proxies."""
        for network in networks:
            for view in views:
                if (view, network.key) not in self._features:
                    self._features[view, network.key] = features_of(self.family, network.choices, view)
        if proxies is not None:
            self._add_proxies([network for network in networks if network.key not in self._proxies], proxies)
        return [
            {name: value for view in views for name, value in self._features[view, network.key].items()}
            | dict(self._proxies.get(network.key, {}))
            for network in networks
        ]

    def _add_proxies(self, networks: Sequence[Network], proxies: Proxies) -> None:
        """Computes proxies and takes off their heavy tails."""
        if not networks:
            return
        figures = {
            f"proxy {name}": np.sign(column) * np.log1p(np.abs(column)) for name, column in proxies(networks).items()
        }
        for i, network in enumerate(networks):
            self._proxies[network.key] = {name: float(column[i]) for name, column in figures.items()}
