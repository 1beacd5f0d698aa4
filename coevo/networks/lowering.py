"""Turns a `Graph` into the `Workload` that the cost model reads.

Every convolution, linear layer, pooling and addition is a loop nest; a batch norm on its own is a pass over the
map (its statistics are known). Attention is two matrix products; a layer norm and a softmax take passes
(`coevo.workload.PASSES`); a sequence of tokens begins with an addition, that of positions. What a convolution carries
along (batch norm, activation) is fused into it, and zeros are not computed. Resizing the image is the camera's work: a
graph starts at the resolution it computes at.

Where a node has bits, its layer has them for weights and inputs. Outputs keep the accelerator's width: they are sums
(`coevo.cost.precision` says what that means).
"""

from __future__ import annotations

from collections import Counter
from typing import TypedDict

from coevo.networks.graph import (
    INPUT,
    Add,
    Conv,
    GlobalPool,
    Graph,
    Idle,
    Linear,
    Node,
    Norm,
    Pool,
    Product,
    Shape,
    Zeros,
)
from coevo.networks.sequence import FirstToken, LayerNorm, Mix, Scores, SequenceNode, Softmax, Tokens
from coevo.workload import PASSES, Layer, WordBits, Workload

_AFFINE = {"norm": 2, "bias": 1, "none": 0}
"""Parameters per channel."""


class _Place(TypedDict):
    """What a layer has beside its loops: see `Layer`."""

    bits: WordBits | None
    follows: bool


def lower(graph: Graph) -> Workload:
    """Returns the graph's layers in the order they run, for a batch of one."""
    shapes = graph.shapes
    readers = Counter(source for node in graph.nodes for source in node.sources)
    layers: list[Layer] = []
    after: list[tuple[int, ...]] = []
    made: dict[str, tuple[int, ...]] = {INPUT: ()}  # the layers that have to be done for a node's output to be there
    for node in graph.nodes:
        before = layers[-1].name if layers else None
        # What tokens are added to, the positions, does not come from the layer before.
        follows = node.sources == (before,) and readers[node.sources[0]] == 1 and not isinstance(node, Tokens)
        place = _Place(bits=_bits(node), follows=follows)
        layer = _layer(node, shapes[node.sources[0]], shapes[node.name], place)
        read = () if isinstance(node, Zeros) else tuple(sorted({i for source in node.sources for i in made[source]}))
        made[node.name] = read if layer is None else (len(layers),)
        if layer is not None:
            layers.append(layer)
            after.append(read)
    return Workload(graph.name, tuple(layers), after=tuple(after))


def _bits(node: Node) -> WordBits | None:
    """The bits of a layer's words: what has no weights has inputs alone."""
    if isinstance(node, Idle) or node.bits is None:
        return None
    weights, activations = node.bits
    if isinstance(node, Product):  # an activation takes the place of the weights
        return activations, activations, None
    return weights if isinstance(node, Conv | Linear) else None, activations, None


def _layer(node: Node, given: Shape, made: Shape, place: _Place) -> Layer | None:  # noqa: PLR0911 - one per kind of node
    channels, height, width = made
    match node:
        case Conv():
            return Layer(
                node.name,
                "conv",
                g=node.groups,
                m=channels // node.groups,
                c=given[0] // node.groups,
                p=height,
                q=width,
                r=node.kernel,
                s=node.kernel,
                stride=(node.stride, node.stride),
                dilation=(node.dilation, node.dilation),
                affine=_AFFINE[node.affine] * channels,
                **place,
            )
        case Linear():
            return Layer(node.name, "linear", m=channels, c=given[0] * given[1] * given[2], affine=channels, **place)
        case Pool(kernel=kernel, stride=stride):
            return Layer(
                node.name, "pool", g=channels, p=height, q=width, r=kernel, s=kernel, stride=(stride, stride), **place
            )
        case GlobalPool():
            return Layer(node.name, "pool", g=channels, r=given[1], s=given[2], **place)
        case Add():
            return Layer(node.name, "add", g=channels, c=len(node.sources), p=height, q=width, **place)
        case Norm():
            return Layer(node.name, "norm", g=channels, p=height, q=width, affine=_AFFINE["norm"] * channels, **place)
        case Zeros() | FirstToken():
            return None
        case _:
            return _sequence_layer(node, given, made, place)


def _sequence_layer(node: SequenceNode, given: Shape, made: Shape, place: _Place) -> Layer:
    channels, height, width = made
    match node:
        case Tokens():
            affine = channels * (height + node.class_token)
            return Layer(node.name, "add", g=channels, c=2, p=height, affine=affine, **place)
        case LayerNorm():
            passes = PASSES["norm"]
            return Layer(node.name, "norm", g=channels, c=passes, p=height, q=width, affine=2 * channels, **place)
        case Scores(heads=heads):
            return Layer(node.name, "matmul", g=heads, m=width, c=given[0] // heads, p=height, **place)
        case Softmax():
            return Layer(node.name, "softmax", g=channels, c=PASSES["softmax"], p=height, q=width, **place)
        case Mix():
            return Layer(node.name, "matmul", g=given[0], m=channels // given[0], c=given[2], p=height, **place)
