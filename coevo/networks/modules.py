"""Turns a `Graph` into the ``nn.Module`` that is trained.

This, `coevo.networks.attention` and `coevo.networks.quantised` import torch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from coevo.networks.attention import ChannelNorm, HeadProducts, HeadSums, TokenSequence
from coevo.networks.graph import (
    INPUT,
    Activation,
    Add,
    Conv,
    GlobalPool,
    Graph,
    Linear,
    Node,
    Norm,
    Pool,
    Shape,
    Zeros,
)
from coevo.networks.quantised import ActivationGrid, QuantisedConv2d, QuantisedLinear, Stored, with_stored
from coevo.networks.sequence import FirstToken, LayerNorm, Mix, Scores, SequenceNode, Softmax, Tokens


class GraphModule(nn.Module):
    """A network that runs a graph's nodes in order.

    Node ``stage1.block2.expand`` is the submodule of that name. Nodes with bits read what is stored in so many: the
    4-bit output of that node is the submodule ``stored4.stage1.block2.expand``. Weights are torch's defaults, drawn
    from its generator: whoever trains calls ``torch.manual_seed`` before building.

    Args:
        graph: The network; its output is flattened.

    Attributes:
        size: Height and width [pixel] that the network computes at; other images are resized to it first.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.size = graph.input[1:]
        self._output = graph.nodes[-1].name
        nodes, shapes = zip(*with_stored(graph), strict=True)
        modules = [_module(node, given) for node, given in zip(nodes, shapes, strict=True)]
        for node, module in zip(nodes, modules, strict=True):
            _attach(self, node.name, module)
        self._steps = tuple(zip(nodes, modules, _spent(nodes), strict=True))
        # Depthwise layers train about twice as fast so, on a CPU too. torch's stubs do not know the argument.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits ``(batch, class)`` of images ``(batch, channel, height, width)``."""
        if images.shape[2:] != self.size:
            images = functional.interpolate(images, self.size, mode="bilinear", align_corners=False)
        values = {INPUT: images}
        for node, module, spent in self._steps:
            values[node.name] = module(*(values[source] for source in node.sources))
            for name in spent:
                del values[name]
        return values[self._output].flatten(1)


class Sum(nn.Module):
    """The sum of its inputs."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        """Returns the sum of tensors of one shape."""
        for other in others:
            first = first + other
        return first


class Shuffle(nn.Module):
    """Channels in turn out of so many groups.

    Args:
        groups: A divisor of the channels.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, values: Tensor) -> Tensor:
        """Returns the channels of ``(batch, channel, height, width)`` in another order."""
        batch, channels, height, width = values.shape
        apart = values.reshape(batch, self.groups, channels // self.groups, height, width)
        return apart.transpose(1, 2).reshape(batch, channels, height, width)


class Nothing(nn.Module):
    """Zeros in the shape of its input, whatever stands there (a product with 0 would keep a NaN)."""

    def forward(self, values: Tensor) -> Tensor:
        """Returns zeros."""
        return torch.zeros_like(values)


class First(nn.Module):
    """The first row of a map."""

    def forward(self, values: Tensor) -> Tensor:
        """Returns ``(batch, channel, 1, 1)`` of tokens ``(batch, channel, token, 1)``."""
        return values[:, :, :1]


def _spent(nodes: Sequence[Node | Stored]) -> list[tuple[str, ...]]:
    """For each node, the values that nobody reads after it and that are not the output: they can be freed."""
    last = {source: i for i, node in enumerate(nodes) for source in node.sources}
    spent: list[list[str]] = [[] for _ in nodes]
    for i, node in enumerate(nodes[:-1]):
        spent[last.get(node.name, i)].append(node.name)
    return [tuple(names) for names in spent]


def _attach(root: nn.Module, name: str, module: nn.Module) -> None:
    """Adds ``module`` at a dotted name, with plain containers on the way."""
    *way, leaf = name.split(".")
    here = root
    for step in way:
        if step not in here._modules:
            here.add_module(step, nn.Module())
        here = here.get_submodule(step)
    here.add_module(leaf, module)


def _module(node: Node | Stored, given: Shape) -> nn.Module:  # noqa: C901, PLR0911 - one per kind of node
    match node:
        case Conv():
            return _conv(node, given[0])
        case Linear():
            return _linear(node, given[0] * given[1] * given[2])
        case Pool(mode="avg"):
            return nn.AvgPool2d(node.kernel, node.stride, node.padding, count_include_pad=False)
        case Pool():
            return nn.MaxPool2d(node.kernel, node.stride, node.padding)
        case GlobalPool():
            return nn.AdaptiveAvgPool2d(1)
        case Add():
            return Sum()
        case Norm():
            return _norm(node, given[0])
        case FirstToken():
            return First()
        case Zeros():
            return Nothing()
        case Stored():
            return ActivationGrid(node.bits)
        case _:
            return _sequence_module(node, given)


def _sequence_module(node: SequenceNode, given: Shape) -> nn.Module:
    match node:
        case Tokens():
            return TokenSequence(given[0], given[1] * given[2], node.class_token)
        case LayerNorm():
            return nn.Sequential(OrderedDict(norm=ChannelNorm(given[0])))
        case Scores():
            return HeadProducts(node.heads)
        case Softmax():
            return nn.Softmax(-1)
        case Mix():
            return HeadSums()


def _linear(node: Linear, features: int) -> nn.Sequential:
    linear = nn.Linear(features, node.features)
    own = QuantisedLinear(linear, node.bits[0]) if node.bits else linear
    return nn.Sequential(nn.Flatten(), own, nn.Unflatten(1, (node.features, 1, 1)))


def _norm(node: Norm, channels: int) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(norm=nn.BatchNorm2d(channels))
    if node.after:
        parts["after"] = _activation(node.after)
    return nn.Sequential(parts)


def _conv(node: Conv, channels: int) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if node.before:
        parts["before"] = _activation(node.before, inplace=False)  # others may read the same input
    if node.shuffle > 1:
        parts["shuffle"] = Shuffle(node.shuffle)
    conv = nn.Conv2d(
        channels,
        node.channels,
        node.kernel,
        node.stride,
        node.padding,
        node.dilation,
        node.groups,
        bias=node.affine == "bias",
    )
    parts["conv"] = QuantisedConv2d(conv, node.bits[0]) if node.bits else conv
    if node.affine == "norm":
        parts["norm"] = nn.BatchNorm2d(node.channels)
    if node.after:
        parts["after"] = _activation(node.after)
    return nn.Sequential(parts)


def _activation(name: Activation, inplace: bool = True) -> nn.Module:
    if name == "gelu":
        return nn.GELU()
    return nn.ReLU(inplace) if name == "relu" else nn.ReLU6(inplace)
