"""The array namespace: the cost formulas run unchanged on numpy arrays and torch tensors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any


def namespace(array: Any) -> Any:
    """Returns ``torch`` for a tensor, else ``numpy``; torch is never imported for it."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return torch
    import numpy

    return numpy


def positive(x: Any) -> Any:
    """Returns ``max(x, 0)`` elementwise; its gradient at 0 is 0."""
    return x * (x > 0)


def whole(x: Any) -> Any:
    """Returns ``x`` as 64-bit integers, rounding halves to even."""
    xp = namespace(x)
    return xp.round(x).to(xp.int64) if xp.__name__ == "torch" else xp.rint(x).astype(xp.int64)


def wants_gradient(x: Any) -> bool:
    """Whether ``x`` is a tensor on the way to a gradient."""
    return bool(getattr(x, "requires_grad", False))


def convert(value: Any, array: Callable[[Any], Any]) -> Any:
    """Returns the same nouns (dataclasses, lists, tuples, dicts) with ``array`` applied to every numpy array."""
    import numpy

    if isinstance(value, numpy.ndarray):
        return array(value)
    if isinstance(value, dict):
        return {key: convert(x, array) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(convert(x, array) for x in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: convert(getattr(value, field.name), array) for field in fields(value)})
    return value
