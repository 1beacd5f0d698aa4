"""Which tensors the networks of a space share, and which part of each a network uses. Without torch.

Every weight of a network is a slice of a shared tensor: the leading output and input channels, and the centre of the
window where it is smaller (J. Yu et al.: BigNAS, ECCV 2020, section 3.1; H. Cai et al.: Once-for-All, ICLR 2020, fig.
3). Nodes of one name share it if they do the same kind of thing. The kind is the operation (pointwise, dense,
depthwise or grouped convolution, and its dilation), and, for a node that reads another of its own block, which one:
the projection behind a depthwise convolution is not the one behind a dense convolution. So sizes are elastic, and
operations have weights of their own, as in Z. Guo et al.: Single Path One-Shot NAS, ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np

from coevo.design import digest
from coevo.networks.graph import Conv, Graph, Linear, Node, Norm, Shape
from coevo.networks.sequence import LayerNorm, Tokens
from coevo.protocols import NetworkFamily
from coevo.space import Genomes, Space

Choices = Mapping[str, Any]

_DRAWN = 4000
_TELLING = 64


@runtime_checkable
class _HasGraph(Protocol):
    def graph(self, choices: Choices) -> Graph: ...


class GraphFamily(NetworkFamily, _HasGraph, Protocol):
    """A family that describes its networks as graphs."""


def has_graph(family: NetworkFamily) -> TypeGuard[GraphFamily]:
    """Says whether a family describes its networks as graphs."""
    return isinstance(family, _HasGraph)


@dataclass(frozen=True)
class Slice:
    """The part of a shared tensor that is a network's parameter.

    Attributes:
        shared: Name of the shared tensor, e.g. ``stage1.block2.project[pointwise behind depthwise].conv.weight``.
        shape: Of the part: ``(channel,)`` or ``(output, input, height, width)``.
        flat: Whether the network has the last three axes as one (a fully connected layer).
    """

    shared: str
    shape: tuple[int, ...]
    flat: bool = False


def slices(graph: Graph) -> dict[str, Slice]:
    """Returns what each parameter of a graph's module is, by its dotted name in `GraphModule`."""
    parts: dict[str, Slice] = {}
    for node in graph.nodes:
        kind = _kind(node, graph.shapes[node.sources[0]])
        own = f"{node.name}[{kind}]" if kind else node.name
        for parameter, shape in _parameters(node, graph.shapes[node.sources[0]]).items():
            parts[f"{node.name}.{parameter}"] = Slice(f"{own}.{parameter}", shape, flat=parameter == "1.weight")
    return parts


def shared_shapes(family: GraphFamily) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the shared tensors of a family's whole space, by name, in alphabetical order.

    Networks are drawn, half of every network's genes at their largest choice, to find every tensor; then, from the
    largest network that has it, the ordered genes are raised one by one as far as the tensor stays. This is exact
    where a tensor's extents grow with each ordered gene by itself, as they do with widths, expansions and kernels.
    """
    space = Space(family.genes)
    best: dict[str, tuple[tuple[int, ...], Genomes]] = {}

    def look(genome: Genomes) -> dict[str, tuple[int, ...]]:
        shapes = {part.shared: part.shape for part in slices(family.graph(space.decode(genome))).values()}
        for name, shape in shapes.items():
            if name not in best or _volume(shape) > _volume(best[name][0]):
                best[name] = (shape, genome)
        return shapes

    shapes: dict[str, tuple[int, ...]] = {}
    for genome in np.unique(draw(space, _DRAWN), axis=0):
        _enlarge(shapes, look(genome))
    for name in sorted(best):
        _enlarge(shapes, {name: _raised(space, name, best[name][1], look)})
    return dict(sorted(shapes.items()))


def draw(space: Space, count: int) -> Genomes:
    """Draws genomes ``(count, gene)``, always the same: each gene at its last choice by half a chance, else uniform."""
    rng = np.random.default_rng(0)
    size = (count, len(space.genes))
    uniform = rng.integers(0, space.cardinalities, size=size, dtype=np.int64)
    return space.canonical(np.where(rng.random(size) < 0.5, space.cardinalities - 1, uniform))


def space_digest(family: GraphFamily) -> str:
    """Returns a digest of a family's space: its genes, and the graphs of some networks, which settings shape too."""
    space = Space(family.genes)
    graphs = [repr(family.graph(space.decode(genome))) for genome in draw(space, _TELLING)]
    return digest([[repr(gene) for gene in space.genes], graphs])


class Sampler:
    """Draws the networks of a training step.

    Args:
        space: The network space.
        rng: Where its draws come from.
    """

    def __init__(self, space: Space, rng: np.random.Generator) -> None:
        self._space = space
        self._rng = rng
        self._ordered = space.ordered

    def uniform(self) -> Choices:
        """Returns a network, each gene uniform over its choices."""
        return self._space.decode(self._space.sample(self._rng, 1)[0])

    def largest(self) -> Choices:
        """Returns the largest network; genes without an order are uniform."""
        return self._extreme(self._space.cardinalities - 1)

    def smallest(self) -> Choices:
        """Returns the smallest network; genes without an order are uniform."""
        return self._extreme(np.zeros_like(self._space.cardinalities))

    def _extreme(self, ends: Genomes) -> Choices:
        drawn = self._rng.integers(0, self._space.cardinalities, dtype=np.int64)
        genome = np.where(self._ordered, ends, drawn)
        return self._space.decode(self._space.canonical(genome[None, :])[0])


def _kind(node: Node, given: Shape) -> str:
    """What must be equal for two nodes of one name to share weights; empty where the name says it all."""
    match node:
        case Conv():
            sibling = _sibling(node)
            behind = f" behind {sibling}" if sibling else ""
            dilated = f" dilated {node.dilation}" if node.dilation > 1 else ""
            return f"{_operation(node, given[0])}{dilated}{behind}"
        case Linear() | Tokens():
            return "" if given[1:] == (1, 1) else f"{given[1]}x{given[2]}"
        case _:
            return ""


def _operation(node: Conv, channels: int) -> str:
    if not node.padded:
        return f"patches of {node.kernel}"
    if node.groups == 1:
        return "pointwise" if node.kernel == 1 else "dense"
    return "depthwise" if node.groups == channels else "grouped"


def _sibling(node: Conv) -> str:
    """Last step of the name of the node that it reads, if that one is of the same block; else empty."""
    own, _, _ = node.name.rpartition(".")
    theirs, _, last = node.source.rpartition(".")
    return last if own and own == theirs else ""


def _parameters(node: Node, given: Shape) -> dict[str, tuple[int, ...]]:
    """Shapes of a node's parameters by their names in its module, fully connected weights with four axes."""
    match node:
        case Conv():
            shapes: dict[str, tuple[int, ...]] = {
                "conv.weight": (node.channels, given[0] // node.groups, node.kernel, node.kernel)
            }
            if node.affine == "bias":
                shapes["conv.bias"] = (node.channels,)
            return shapes | (_norm(node.channels) if node.affine == "norm" else {})
        case Linear():
            return {"1.weight": (node.features, *given), "1.bias": (node.features,)}
        case Norm() | LayerNorm():
            return _norm(given[0])
        case Tokens():
            count = given[1] * given[2] + node.class_token
            shapes = {"positions": (1, given[0], count, 1)}
            return shapes | ({"class_token": (1, given[0], 1, 1)} if node.class_token else {})
        case _:
            return {}


def _norm(channels: int) -> dict[str, tuple[int, ...]]:
    return {"norm.weight": (channels,), "norm.bias": (channels,)}


def _raised(
    space: Space, name: str, genome: Genomes, look: Callable[[Genomes], Mapping[str, tuple[int, ...]]]
) -> tuple[int, ...]:
    """Shape of a shared tensor after every ordered gene was raised as far as no extent of it shrinks."""
    shape = look(genome)[name]
    for i, gene in enumerate(space.genes):
        for candidate in _higher(space, genome, i) if gene.ordered else ():
            seen = look(candidate).get(name)
            if seen is not None and all(new >= old for new, old in zip(seen, shape, strict=True)):
                genome, shape = candidate, seen
                break
    return shape


def _higher(space: Space, genome: Genomes, gene: int) -> Iterator[Genomes]:
    """The genome with larger choices of a gene, the largest first."""
    for choice in range(int(space.cardinalities[gene]) - 1, int(genome[gene]), -1):
        changed = genome.copy()
        changed[gene] = choice
        yield space.canonical(changed[None, :])[0]


def _enlarge(shapes: dict[str, tuple[int, ...]], others: Mapping[str, tuple[int, ...]]) -> None:
    """Raises every extent to that of ``others``."""
    for name, shape in others.items():
        shapes[name] = tuple(map(max, shape, shapes.get(name, shape)))


def _volume(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))
