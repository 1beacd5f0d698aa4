"""Bit widths of weights and activations as part of a network space: the section ``bits``.

    bits: {weights: [4, 8], activations: [4, 8], per: stage}

A list becomes a gene, ``bits.weights`` and ``bits.activations`` (``per: network``) or ``stage1.bits.weights`` and so on
(``per: stage``), behind all other genes. A node's bits are those of the weights that it multiplies by and of the
activations that it *reads*; poolings, additions and norms read activations too. With ``per: network`` all layers have
the same. With ``per: stage`` what belongs to no stage (stem, head, classifier) has the largest choice of each, since
first and last layers suffer most (Zhou et al., DoReFa-Net, 2016, sec. 2.7 leaves them unquantised).

How many channels there are is the families' ``width``: choosing it is pruning by channels, without a section here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from coevo.networks.choices import CHOICES, Picker, gene_of
from coevo.networks.graph import Bits, Idle, Node
from coevo.space import Gene

LEAST, MOST = 2, 16
"""Range of the widths: a sign and a magnitude at least; beyond 16 bits float32 no longer tells all values apart."""

Widths = Annotated[tuple[Annotated[int, Field(strict=True, ge=LEAST, le=MOST)], ...], *CHOICES]


class BitSettings(BaseModel):
    """The section ``bits``: each field is a value, or a list of choices that becomes a gene.

    Attributes:
        weights: Bits of a weight.
        activations: Bits of an activation.
        per: Whether the whole network or each stage has its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    weights: Widths
    activations: Widths
    per: Literal["network", "stage"] = "network"


def bit_genes(settings: BitSettings | None, stages: int) -> Iterator[Gene]:
    """Yields the genes of the bit widths, none without the section.

    Args:
        settings: The section.
        stages: Of the network.
    """
    if settings is None:
        return
    owners = [""] if settings.per == "network" else [f"stage{i}." for i in range(1, stages + 1)]
    for owner in owners:
        yield from gene_of(f"{owner}bits.weights", settings.weights)
        yield from gene_of(f"{owner}bits.activations", settings.activations)


def with_bits(
    nodes: Sequence[Node], settings: BitSettings | None, pick: Picker, stage_of: Mapping[str, int]
) -> tuple[Node, ...]:
    """Returns nodes with the chosen bits; without the section, as they are.

    Args:
        nodes: Of a network.
        settings: The section.
        pick: Reads the genes.
        stage_of: Number of the stage, from 1, by the first part of a node's name; what is absent is in no stage.

    Raises:
        ValueError: A gene has no value.
    """
    if settings is None:
        return tuple(nodes)
    if settings.per == "network":
        ends, stages = _chosen(settings, pick, ""), {}
    else:
        ends = max(settings.weights), max(settings.activations)
        stages = {i: _chosen(settings, pick, f"stage{i}.") for i in sorted(set(stage_of.values()))}
    return tuple(_with(node, stages.get(stage_of.get(node.name.partition(".")[0], 0), ends)) for node in nodes)


def _chosen(settings: BitSettings, pick: Picker, owner: str) -> Bits:
    weights: int = pick(f"{owner}bits.weights", settings.weights)
    activations: int = pick(f"{owner}bits.activations", settings.activations)
    return weights, activations


def _with(node: Node, bits: Bits) -> Node:
    return node if isinstance(node, Idle) else replace(node, bits=bits)
