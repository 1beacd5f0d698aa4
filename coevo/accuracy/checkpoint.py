"""Weights in files: safetensors, written whole or not at all, read without running anything."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_WEIGHTS = "weights."
_OPTIMIZER = "optimizer."
_DIGEST = "digest"


def save(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    more: Mapping[str, Tensor] | None = None,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Writes a module's weights and buffers, and what else is given, by way of a hidden neighbour.

    Args:
        path: The file; its folder is made.
        module: The network.
        optimizer: Whose state to keep.
        more: Further tensors by name.
        facts: Text by name.

    Raises:
        OSError: It cannot be written.
    """
    tensors = {f"{_WEIGHTS}{name}": value for name, value in module.state_dict().items()}
    if optimizer is not None:
        for i, parameter in enumerate(_parameters(optimizer)):
            for name, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{_OPTIMIZER}{i}.{name}"] = value
    tensors |= dict(more or {})
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    neighbour = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(plain, neighbour, {**(facts or {}), _DIGEST: _digest(plain)})
        os.replace(neighbour, path)
    except SafetensorError as error:  # a full disk, say
        raise OSError(f"{path}: cannot be written: {error}") from None
    finally:
        neighbour.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Returns the tensors and facts of a file; None if it is absent or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors, facts = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    # The format has no checksum of its own: a flipped bit would be a figure that nobody can explain.
    return (tensors, facts) if facts.get(_DIGEST) == _digest(tensors) else None


@torch.no_grad()
def load(module: nn.Module, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer | None = None) -> bool:
    """Puts what `save` kept back; says whether all of it fitted (if not, nothing is changed)."""
    own = module.state_dict()
    given = {name.removeprefix(_WEIGHTS): v for name, v in tensors.items() if name.startswith(_WEIGHTS)}
    if own.keys() != given.keys() or any(own[name].shape != given[name].shape for name in own):
        return False
    for name, value in own.items():
        value.copy_(given[name])  # in place: the memory format stays
    if optimizer is not None:
        for i, parameter in enumerate(_parameters(optimizer)):
            stem = f"{_OPTIMIZER}{i}."
            for name, value in tensors.items():
                if name.startswith(stem):
                    whole = torch.empty_like(parameter) if value.shape == parameter.shape else torch.empty_like(value)
                    optimizer.state[parameter][name.removeprefix(stem)] = whole.copy_(value)
    return True


@torch.no_grad()
def inherit(module: nn.Module, tensors: Mapping[str, Tensor], overlap: bool) -> int:
    """Copies another network's weights wherever a tensor of that name has the same shape; returns how many.

    Args:
        module: The child.
        tensors: What `save` kept of the parent.
        overlap: Whether, where shapes differ in extents alone, the part that both have is copied.
    """
    count = 0
    for name, value in module.state_dict().items():
        given = tensors.get(f"{_WEIGHTS}{name}")
        if given is None or given.ndim != value.ndim or given.dtype != value.dtype:
            continue
        if given.shape == value.shape:
            value.copy_(given)
            count += 1
        elif overlap:
            common = tuple(slice(0, min(a, b)) for a, b in zip(given.shape, value.shape, strict=True))
            value[common].copy_(given[common])
            count += 1
    return count


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Digest of names, types, shapes and values."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
