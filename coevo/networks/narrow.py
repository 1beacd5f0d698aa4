"""Cheaper networks of the same shape: fewer pixels, channels and repeated cells. Proxies that train faster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from coevo.errors import SpecError
from coevo.networks.described import Described
from coevo.networks.graph import Conv, Graph, Linear, Node
from coevo.networks.sequence import Mix, Scores
from coevo.protocols import NetworkFamily, Task
from coevo.space import Gene


@dataclass(frozen=True, eq=False)
class Reduced(Described):
    """A family whose networks are cheaper versions of another's, gene by gene.

    Attributes:
        family: The other, shallower already; describes its networks as graphs.
        task: What the data ask of a network.
        resolution: Share of the height and width that networks compute at.
        width: Share of every convolution's channels.
    """

    family: Any
    task: Task
    resolution: float
    width: float

    @property
    def genes(self) -> tuple[Gene, ...]:
        """The other's."""
        return tuple(self.family.genes)

    def graph(self, choices: Mapping[str, Any], task: Task | None = None) -> Graph:
        """Returns the description of a network, for ``task`` if given, at the reduced size."""
        task = task or self.task
        smaller = replace(task, resolution=max(1, round(self.resolution * task.resolution)))
        return narrowed(self.family.graph(choices, smaller), self.width)


def reduced(
    family: NetworkFamily, task: Task, resolution: float = 1.0, width: float = 1.0, depth: float = 1.0
) -> NetworkFamily:
    """Returns a family of cheaper networks; the same one if nothing is to be reduced.

    Args:
        family: Describes its networks as graphs, and can be made shallower if ``depth`` is below 1.
        task: What the data ask of a network.
        resolution: Share of the height and width that networks compute at, in (0, 1].
        width: Share of every convolution's channels, in (0, 1].
        depth: Share of the cells that the family repeats, in (0, 1].

    Raises:
        SpecError: The family cannot be reduced so; the field says in what.
    """
    if resolution == width == depth == 1:
        return family
    if not hasattr(family, "graph"):
        raise SpecError(
            "resolution, width and depth need a family that describes its networks as graphs "
            "(mbconv, cell, fbnet, vit)",
            field="resolution" if resolution < 1 else "width" if width < 1 else "depth",
        )
    if depth < 1:
        if not hasattr(family, "shallower"):
            raise SpecError("depth needs a family that repeats cells (cell); elsewhere genes choose it", field="depth")
        family = family.shallower(depth)
    return cast("NetworkFamily", Reduced(family, task, resolution, width))


def narrowed(graph: Graph, share: float) -> Graph:
    """Returns a graph whose convolutions have ``share`` of their output channels, at least one.

    Groups follow: a depthwise convolution stays depthwise; others keep as many groups as divide the channels, and so do
    attention's heads. The input and linear layers at the end (the classes) stay as they are.

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
            nodes.append(replace(node, channels=width, groups=groups, shuffle=_groups(node.shuffle, given, given)))
            channels[node.name] = width
        elif isinstance(node, Scores):  # queries, keys and values are equally wide, so their heads are as many
            heads = _groups(node.heads, given, given)
            nodes.append(replace(node, heads=heads))
            channels[node.name] = heads
        elif isinstance(node, Mix):
            nodes.append(node)
            channels[node.name] = channels[node.sources[1]]
        else:
            nodes.append(node)
            channels[node.name] = node.features if isinstance(node, Linear) else given
    return Graph(graph.name, graph.input, tuple(nodes))


def _groups(wanted: int, given: int, made: int) -> int:
    """The most groups, at most ``wanted``, that divide both numbers of channels."""
    return next(groups for groups in range(wanted, 0, -1) if given % groups == 0 and made % groups == 0)
