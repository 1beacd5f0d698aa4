"""Networks as numbers, for whoever learns from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coevo.design import Network
from coevo.protocols import Array, NetworkFamily
from coevo.space import Space


def features(family: NetworkFamily, networks: Sequence[Network]) -> Array:
    """Returns what is known of networks without running them ``(network, feature)``.

    Their size (logarithms of multiply-accumulates and parameters, number of layers), and what the family says of their
    structure (``encoding``), or else their genes.
    """
    encode = getattr(family, "encoding", None)
    structure = (
        genes(family, networks) if encode is None else np.array([encode(network.choices) for network in networks])
    )
    return np.concatenate([sizes(family, networks), structure.reshape(len(networks), -1)], axis=1)


def sizes(family: NetworkFamily, networks: Sequence[Network]) -> Array:
    """Returns the logarithms of multiply-accumulates and parameters, and the number of layers ``(network, 3)``."""
    rows = []
    for network in networks:
        workload = family.workload(network.choices)
        rows.append([np.log1p(workload.macs), np.log1p(workload.parameters), len(workload.layers)])
    return np.array(rows, dtype=np.float64).reshape(len(networks), 3)


def genes(family: NetworkFamily, networks: Sequence[Network]) -> Array:
    """Returns genes as numbers ``(network, feature)``: ordered ones from 0 to 1, others one-hot.

    An inactive gene is 0; if a gene may be inactive, a further feature says whether it is active.
    """
    space = Space(tuple(family.genes))
    genomes = np.array([space.encode(network.choices) for network in networks], dtype=np.int64)
    genomes = genomes.reshape(len(networks), len(space.genes))
    active = space.active(genomes)
    columns = []
    for i, gene in enumerate(space.genes):
        on, count = active[:, i], len(gene.choices)
        if gene.ordered:
            columns.append(np.where(on, genomes[:, i] / max(1, count - 1), 0.0)[:, None])
        else:
            columns.append((genomes[:, i, None] == np.arange(count)) & on[:, None])
        if gene.parent is not None:
            columns.append(on[:, None])
    return np.concatenate([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
