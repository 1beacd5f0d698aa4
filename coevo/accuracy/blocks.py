"""What a network computes block by block, found by running it: for any ``nn.Module``.

A block's output is a feature map through which every path from the network's input to its output leads. Such maps are
found in autograd's graph of one forward pass. Of those that modules of one block return, the last is the block's:
a module belongs to the block of the first two parts of its dotted name (``stage1.block2`` of ``stage1.block2.project``,
``layer1.0`` of ``layer1.0.conv2``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

GradNode = Any
"""A node of autograd's graph."""

_NAME_PARTS = 2


def block_maps(module: nn.Module, images: Tensor) -> list[Tensor]:
    """Runs a module and returns its blocks' outputs, from input to output, with their gradient graph.

    Args:
        module: Input ``(batch, channel, height, width)``.
        images: Its input.

    Returns:
        Maps ``(batch, channel, height, width)`` of more than one pixel; none if the output depends on no input.
    """
    returned: list[tuple[str, Tensor]] = []

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _given: Any, made: Any) -> None:
            if isinstance(made, Tensor) and made.dim() == 4 and made.shape[2] * made.shape[3] > 1:
                returned.append((name, made))

        return hook

    hooks = [
        part.register_forward_hook(keep(".".join(name.split(".")[:_NAME_PARTS])))
        for name, part in module.named_modules()
        if name
    ]
    images = images.detach().requires_grad_(True)
    try:
        output: Tensor = module(images.clone())  # a module may overwrite its input, but no leaf of the graph
    finally:
        for hook in hooks:
            hook.remove()
    places = {node: place for place, node in enumerate(reversed(_waists(output.grad_fn, images)))}
    last = {name: made for name, made in returned if made.grad_fn in places}
    maps = {places[made.grad_fn]: made for made in last.values()}  # a container returns what its last part returns
    return [maps[place] for place in sorted(maps)]


def _waists(output: GradNode, images: Tensor) -> list[GradNode]:
    """The nodes through which every path from the output's node to the input leads, the output's first.

    In an order in which every node comes before those it leads to, a node is one if no other is open, that is, named
    by an earlier node and not yet passed.
    """
    order = _from_output(output)
    reaches: dict[GradNode, bool] = {}
    for node in reversed(order):
        is_input = getattr(node, "variable", None) is images
        reaches[node] = is_input or any(reaches[source] for source in _sources(node))
    waists: list[GradNode] = []
    open_nodes: set[GradNode] = set(order[:1])
    for node in order:
        if reaches[node]:
            if open_nodes == {node}:
                waists.append(node)
            open_nodes.discard(node)
            open_nodes.update(source for source in _sources(node) if reaches[source])
    return waists


def _from_output(output: GradNode) -> list[GradNode]:
    """All nodes that a node leads to, itself first, each before those it leads to."""
    if output is None:
        return []
    done: list[GradNode] = []
    seen: set[GradNode] = set()
    stack = [(output, False)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            done.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((source, False) for source in _sources(node))
    return done[::-1]


def _sources(node: GradNode) -> list[GradNode]:
    return [source for source, _ in node.next_functions if source is not None]
