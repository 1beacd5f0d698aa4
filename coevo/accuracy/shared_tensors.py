"""The tensors that the networks of a space share: drawing them, a network's view of them, and the file they are in."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from coevo.accuracy.shared_weights import Slice, slices
from coevo.networks.graph import Graph
from coevo.networks.modules import GraphModule


def new_tensors(shapes: Mapping[str, tuple[int, ...]], rng: torch.Generator) -> dict[str, Tensor]:
    """Draws shared tensors as torch's layers draw theirs: uniform within 1 / sqrt(inputs); norms are 1 and 0.

    Args:
        shapes: Of the tensors by name, from `coevo.accuracy.shared_weights.shared_shapes`.
        rng: A generator on the CPU.
    """
    tensors = {}
    for name, shape in shapes.items():
        layer, _, parameter = name.rpartition(".")
        if layer.endswith(".norm"):
            tensors[name] = torch.full(shape, 1.0 if parameter == "weight" else 0.0)
        elif f"{layer}.weight" not in shapes:  # a class token, positions
            tensors[name] = 0.02 * torch.randn(shape, generator=rng)
        else:
            bound = 1 / math.sqrt(math.prod(shapes[f"{layer}.weight"][1:]))
            tensors[name] = (2 * torch.rand(shape, generator=rng) - 1) * bound
    return tensors


def part(tensor: Tensor, piece: Slice) -> Tensor:
    """Returns a network's part of a shared tensor: leading channels, the window's centre; gradients flow back.

    Raises:
        ValueError: The network needs more than there is.
    """
    if any(wanted > there for wanted, there in zip(piece.shape, tensor.shape, strict=True)):
        raise ValueError(f"a network needs {piece.shape} of {piece.shared}, which is {tuple(tensor.shape)}")
    starts = [0 if axis < 2 else (tensor.shape[axis] - n) // 2 for axis, n in enumerate(piece.shape)]
    view = tensor[tuple(slice(start, start + n) for start, n in zip(starts, piece.shape, strict=True))]
    if piece.flat:
        return view.flatten(1)
    return view.contiguous(memory_format=torch.channels_last) if view.dim() == 4 else view


def logits_of(graph: Graph, tensors: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Returns a network's logits ``(batch, class)`` with its parts of the shared tensors, in training mode.

    Batch norms take the batch's statistics and keep none: those of different networks would mix.
    """
    with torch.device("meta"):
        module = GraphModule(graph)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    parameters = {name: part(tensors[piece.shared], piece) for name, piece in slices(graph).items()}
    logits: Tensor = torch.func.functional_call(module.train(), parameters, (images,))
    return logits


def inherited(graph: Graph, file: Path) -> GraphModule:
    """Returns a network with its parts of the shared tensors in a file; its batch norms' statistics are not set."""
    module = GraphModule(graph)
    parameters = dict(module.named_parameters())
    with torch.no_grad(), safe_open(file, framework="pt") as weights:
        for name, piece in slices(graph).items():
            parameters[name].copy_(part(weights.get_tensor(piece.shared), piece))
    return module


def save(file: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Writes tensors and texts into a safetensors file, which is there whole or not at all."""
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    save_file({name: tensor.detach().cpu() for name, tensor in tensors.items()}, unfinished, metadata=dict(facts))
    unfinished.replace(file)


def load(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns what `save` was given."""
    with safe_open(file, framework="pt") as weights:
        return {name: weights.get_tensor(name).clone() for name in weights.keys()}, dict(weights.metadata())  # noqa: SIM118
