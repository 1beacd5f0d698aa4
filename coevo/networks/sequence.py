"""The nodes of a `coevo.networks.graph.Graph` that make a transformer: tokens, attention and the norms between.

A sequence of tokens is a map of one column, ``(channel, token, 1)``; maps of attention are ``(head, query, key)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coevo.networks.graph import Bits, Shape


@dataclass(frozen=True)
class Tokens:
    """A map as a sequence of tokens, its pixels row by row, each with a learnt position added.

    A convolution of one pixel is then what a fully connected layer is to each token.

    Attributes:
        name: Of the node.
        source: Node that it reads.
        class_token: Whether a learnt token stands before the others.
    """

    name: str
    source: str
    class_token: bool
    bits: Bits | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Nodes that it reads."""
        return (self.source,)

    def output(self, given: Shape) -> Shape:
        """Returns the shape of its output."""
        return given[0], given[1] * given[2] + self.class_token, 1


@dataclass(frozen=True)
class LayerNorm:
    """Every token over its channels: mean 0 and variance 1, then a scale and a shift per channel."""

    name: str
    source: str
    bits: Bits | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Nodes that it reads."""
        return (self.source,)

    def output(self, given: Shape) -> Shape:
        """Returns the shape of its output."""
        return given


@dataclass(frozen=True)
class Scores:
    """Products of queries and keys, head by head, over the root of their length: a map (query, key) per head.

    Attributes:
        name: Of the node.
        sources: Queries and keys; the first ``channels / heads`` channels are the first head's.
        heads: How many.
    """

    name: str
    sources: tuple[str, str]
    heads: int
    bits: Bits | None = None

    def output(self, queries: Shape, keys: Shape) -> Shape:
        """Returns the shape of its output; raises ValueError if channels differ or do not divide into heads."""
        if queries[0] != keys[0] or queries[0] % self.heads:
            raise ValueError(f"{queries[0]} and {keys[0]} channels of queries and keys make no {self.heads} heads")
        return self.heads, queries[1], keys[1]


@dataclass(frozen=True)
class Softmax:
    """The softmax of every row of a map."""

    name: str
    source: str
    bits: Bits | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Nodes that it reads."""
        return (self.source,)

    def output(self, given: Shape) -> Shape:
        """Returns the shape of its output."""
        return given


@dataclass(frozen=True)
class Mix:
    """Sums of values, weighted by a map (query, key) per head.

    Attributes:
        name: Of the node.
        sources: The maps, and the values; the first ``channels / heads`` channels are the first head's.
    """

    name: str
    sources: tuple[str, str]
    bits: Bits | None = None

    def output(self, weights: Shape, values: Shape) -> Shape:
        """Returns the shape of its output; raises ValueError if maps and values do not fit."""
        if values[0] % weights[0] or values[1] != weights[2]:
            raise ValueError(f"values {values} do not fit maps {weights}")
        return values[0], weights[1], 1


@dataclass(frozen=True)
class FirstToken:
    """The first token of a sequence: nothing is computed, so it is no layer."""

    name: str
    source: str

    @property
    def sources(self) -> tuple[str, ...]:
        """Nodes that it reads."""
        return (self.source,)

    def output(self, given: Shape) -> Shape:
        """Returns the shape of its output."""
        return given[0], 1, 1


SequenceNode = Tokens | LayerNorm | Scores | Softmax | Mix
"""Nodes that compute with tokens."""
