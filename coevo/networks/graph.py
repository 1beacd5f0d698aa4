"""The one description of a network: a `Graph` of frozen nodes, with the shape of every value.

From it come both forms that a search needs: `coevo.networks.lowering` makes the `Workload` that the cost model
reads, `coevo.networks.modules` the ``nn.Module`` that is trained. A node's name is the name of its layer in the
workload and of its submodule in the module, so that the two can be compared layer by layer.

Windows are square and padded "same" (``dilation * (kernel - 1) // 2`` pixels on each side): an odd window with
stride t turns a map of h pixels into one of ceil(h / t).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from coevo.networks.sequence import FirstToken, Mix, Scores, SequenceNode

Shape = tuple[int, int, int]
"""Channels, height [pixel], width [pixel] of one image's feature map."""

Activation = Literal["relu", "relu6", "gelu"]

Affine = Literal["norm", "bias", "none"]
"""Per-channel parameters behind a convolution: a batch norm (scale and shift), a bias, or nothing."""

Bits = tuple[int, int]
"""Bits of the weights that a node multiplies by (if it does) and of the activations that it reads."""

INPUT = "input"
"""Name of the network's input, as a node's source."""


@dataclass(frozen=True)
class Conv:
    """A convolution with what is fused into it: activation before, batch norm or bias and activation after.

    An accelerator applies batch norm and activation to words that pass through the array anyway: they cost nothing
    beyond the convolution.

    Attributes:
        name: Of the node.
        source: Node that it reads.
        channels: Output channels.
        kernel: Height and width of the filter [pixel].
        stride: Of the window [pixel].
        groups: Groups of channels; as many as there are channels makes it depthwise.
        dilation: Distance of the filter's taps [pixel].
        affine: What follows the multiplications.
        before: Activation of the input, if any.
        after: Activation of the output, if any.
        padded: Whether zeros surround the map; windows that do not overlap (patches) need none.
        bits: Of its operands; None leaves them to the accelerator, and computes in float.
        shuffle: Groups of channels of which it reads the first of each, then the second of each, and so on (Zhang et
            al., ShuffleNet, CVPR 2018, fig. 1); only an order of reading, so it costs nothing.
    """

    name: str
    source: str
    channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    affine: Affine = "norm"
    before: Activation | None = None
    after: Activation | None = None
    padded: bool = True
    bits: Bits | None = None
    shuffle: int = 1

    @property
    def sources(self) -> tuple[str, ...]:
        """Nodes that it reads."""
        return (self.source,)

    @property
    def padding(self) -> int:
        """Zeros around the map on each side [pixel]."""
        return self.dilation * (self.kernel - 1) // 2 if self.padded else 0

    def output(self, given: Shape) -> Shape:
        """Returns the shape of its output; raises ValueError if it cannot take this input."""
        if given[0] % self.groups or self.channels % self.groups:
            raise ValueError(f"{given[0]} -> {self.channels} channels do not divide into {self.groups} groups")
        if given[0] % self.shuffle:
            raise ValueError(f"{given[0]} channels do not divide into {self.shuffle} groups to shuffle")
        reach = self.dilation * (self.kernel - 1) + 1
        height, width = (_swept(size, reach, self.stride, self.padding) for size in given[1:])
        return self.channels, height, width


@dataclass(frozen=True)
class Pool:
    """The average (of the pixels that exist: padding does not count) or maximum of a sliding window.

    Attributes:
        name: Of the node.
        source: Node that it reads.
        mode: ``avg`` or ``max``.
        kernel: Height and width of the window [pixel].
        stride: Of the window [pixel].
        bits: As a `Conv`'s; so have all nodes that compute.
    """

    name: str
    source: str
    mode: Literal["avg", "max"]
    kernel: int
    stride: int = 1
    bits: Bits | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Nodes that it reads."""
        return (self.source,)

    @property
    def padding(self) -> int:
        """Pixels around the map on each side [pixel]."""
        return (self.kernel - 1) // 2

    def output(self, given: Shape) -> Shape:
        """Returns the shape of its output; raises ValueError if the map is too small."""
        height, width = (_swept(size, self.kernel, self.stride, self.padding) for size in given[1:])
        return given[0], height, width


@dataclass(frozen=True)
class GlobalPool:
    """The average of the whole map: one pixel per channel."""

    name: str
    source: str
    bits: Bits | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Nodes that it reads."""
        return (self.source,)

    def output(self, given: Shape) -> Shape:
        """Returns the shape of its output."""
        return given[0], 1, 1


@dataclass(frozen=True)
class Linear:
    """A fully connected layer with bias on the flattened map.

    Attributes:
        name: Of the node.
        source: Node that it reads.
        features: Of the output.
    """

    name: str
    source: str
    features: int
    bits: Bits | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Nodes that it reads."""
        return (self.source,)

    def output(self, given: Shape) -> Shape:  # noqa: ARG002 - every map can be flattened
        """Returns the shape of its output."""
        return self.features, 1, 1


@dataclass(frozen=True)
class Add:
    """The sum of two or more maps of one shape."""

    name: str
    sources: tuple[str, ...]
    bits: Bits | None = None

    def output(self, *given: Shape) -> Shape:
        """Returns the shape of its output; raises ValueError if the addends differ."""
        if len(given) < 2 or len(set(given)) > 1:
            raise ValueError(f"adds two or more maps of one shape, got {', '.join(map(str, given))}")
        return given[0]


@dataclass(frozen=True)
class Norm:
    """A batch norm that no convolution precedes, and its activation.

    What comes before it is a sum, so its scale cannot be folded into weights: an accelerator makes a pass over the map.
    """

    name: str
    source: str
    after: Activation | None = None
    bits: Bits | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Nodes that it reads."""
        return (self.source,)

    def output(self, given: Shape) -> Shape:
        """Returns the shape of its output."""
        return given


@dataclass(frozen=True)
class Zeros:
    """A map of zeros in the shape of another: nothing is computed, so it is no layer."""

    name: str
    source: str

    @property
    def sources(self) -> tuple[str, ...]:
        """The map whose shape it takes."""
        return (self.source,)

    def output(self, given: Shape) -> Shape:
        """Returns the shape of its output."""
        return given


Product = Scores | Mix
"""Nodes that multiply two activations."""

Idle = Zeros | FirstToken
"""Nodes that compute nothing."""

Node = Conv | Pool | GlobalPool | Linear | Add | Norm | SequenceNode | Idle


@dataclass(frozen=True)
class Graph:
    """A network.

    Attributes:
        name: For people.
        input: Shape of the input.
        nodes: Each after those it reads; the last one's output is the network's. A node that nobody reads is
            computed and counted all the same.
    """

    name: str
    input: Shape
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        _ = self.shapes

    @cached_property
    def connected(self) -> bool:
        """Whether the output depends on the input at all: zeros may stand between."""
        reached = {INPUT}
        for node in self.nodes:
            if not isinstance(node, Zeros) and reached.intersection(node.sources):
                reached.add(node.name)
        return self.nodes[-1].name in reached

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Output shape of every node by name, and of `INPUT`.

        Raises:
            ValueError: A name stands twice, a source does not come before, or a node cannot take its input.
        """
        shapes = {INPUT: self.input}
        for node in self.nodes:
            if node.name in shapes:
                raise ValueError(f"node {node.name} stands twice")
            missing = [source for source in node.sources if source not in shapes]
            if missing:
                raise ValueError(f"node {node.name}: its source {missing[0]} must come before it")
            try:
                shapes[node.name] = node.output(*(shapes[source] for source in node.sources))
            except ValueError as error:
                raise ValueError(f"node {node.name}: {error}") from None
        return shapes


def _swept(size: int, reach: int, stride: int, padding: int) -> int:
    """Positions of a window of ``reach`` pixels along ``size`` pixels; ValueError if nothing is left."""
    positions = (size + 2 * padding - reach) // stride + 1
    if size < stride or positions < 1:
        raise ValueError(f"a window of {reach} with stride {stride} leaves nothing of a map of {size} pixels")
    return positions
