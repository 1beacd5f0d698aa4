"""Narrower networks of the same shape: a proxy that trains faster."""

from __future__ import annotations

from dataclasses import replace

from coevo.networks.graph import Conv, Graph, Linear, Node


def narrowed(graph: Graph, share: float) -> Graph:
    """Returns a graph whose convolutions have ``share`` of their output channels, at least one.

    Groups follow: a depthwise convolution stays depthwise; others keep as many groups as divide the channels. The input
    and linear layers at the end (the classes) stay as they are.

    Args:
        graph: The network.
        share: In (0, 1].

    Raises:
        ValueError: The share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of channels must be in (0, 1], got {share}")
    if share == 1:
        return graph
    shapes = dict(graph.shapes)
    channels = {"input": graph.input[0]}
    nodes: list[Node] = []
    for node in graph.nodes:
        given = channels[node.sources[0]]
        if isinstance(node, Conv):
            depthwise = node.groups == shapes[node.source][0] == node.channels
            width = given if depthwise else max(1, round(share * node.channels))
            groups = given if depthwise else _groups(node.groups, given, width)
            nodes.append(replace(node, channels=width, groups=groups))
            channels[node.name] = width
        else:
            nodes.append(node)
            channels[node.name] = node.features if isinstance(node, Linear) else given
    return Graph(graph.name, graph.input, tuple(nodes))


def _groups(wanted: int, given: int, made: int) -> int:
    """The most groups, at most ``wanted``, that divide both numbers of channels."""
    return next(groups for groups in range(wanted, 0, -1) if given % groups == 0 and made % groups == 0)
