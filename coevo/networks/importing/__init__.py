"""A user's own network as a `Workload`: an ONNX file, or an ``nn.Module`` in a Python file.

import_network("model.onnx")
import_network("mine.py:make_net", "3x224x224")
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from coevo.errors import SpecError
from coevo.networks.importing.lowering import lower
from coevo.networks.importing.operators import TensorGraph
from coevo.workload import Workload

__all__ = ["import_network", "is_own_network"]

_INPUT = re.compile(r"(?P<shape>[0-9]+(x[0-9]+)*)(:(?P<type>[a-z]+[0-9]*))?")
_TYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "bool")
MAX_WORDS = 2**31
"""Largest input that is taken."""


def is_own_network(name: str) -> bool:
    """Whether a name means a user's network rather than a space: ``*.onnx`` or ``file.py:name``."""
    return name.lower().endswith((".onnx", ".py")) or ".py:" in name


def import_network(name: str, inputs: str | None = None, ignored: Collection[str] = ()) -> Workload:
    """Returns the layers of a user's network, for one sample.

    Args:
        name: ``path/to/model.onnx`` or ``path/to/file.py:name``, where name is an ``nn.Module`` or makes one.
        inputs: Shape without batch of every input, ``3x224x224`` or ``128:int64,128:int64``; an ONNX file states
            its own.
        ignored: Operators that count as nothing.

    Raises:
        SpecError: The file, the input or an operator is not understood; one line that says which and what to do.
        BackendError: The package onnx is needed and not installed.
    """
    given = [_input(text) for text in inputs.split(",")] if inputs is not None else []
    graph = _read(name, given, ignored)
    try:
        workload = lower(graph)
    except ValueError as error:
        raise SpecError(f"{error}", file=graph.name) from error
    if not workload.layers:
        raise SpecError("computes nothing that costs: no layer is left; is it the right network?", file=graph.name)
    return workload


def _read(name: str, given: list[tuple[str, tuple[int, ...]]], ignored: Collection[str]) -> TensorGraph:
    if name.lower().endswith(".onnx"):
        from coevo.networks.importing.onnx_file import read_onnx

        return read_onnx(Path(name), [shape for _, shape in given], ignored)
    if name.lower().endswith(".py"):
        raise SpecError(f"name the network in it, such as {name}:make_net", file=name)
    if not given:
        raise SpecError(f"{name} needs the shape of its input, such as --input 3x224x224", field="--input")
    from coevo.networks.importing.torch_module import load_module, read_module

    return read_module(load_module(name), name, given, ignored)


def _input(text: str) -> tuple[str, tuple[int, ...]]:
    """Type and shape of one input."""
    found = _INPUT.fullmatch(text.strip())
    kind = (found["type"] or "float32") if found else ""
    shape = tuple(int(size) for size in found["shape"].split("x")) if found else ()
    if not found or min(shape) < 1 or kind not in _TYPES:
        raise SpecError(
            f"must read SIZExSIZE..., without batch, such as 3x224x224, or 128:int64 for tokens (types: "
            f"{', '.join(_TYPES)}); got {text!r}", field="--input",
        )  # fmt: skip
    words = 1
    for size in shape:
        words *= size
    if words > MAX_WORDS:
        raise SpecError(f"{text} has more than {MAX_WORDS:,} words; take a smaller input", field="--input")
    return kind, shape
