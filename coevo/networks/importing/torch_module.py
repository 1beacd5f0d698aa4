"""Reads an ``nn.Module`` as a `TensorGraph`: torch.export traces it on tensors that hold no data.

What torch.export refuses (control flow that depends on values, say) is run once on zeros instead, and what ran is
counted. Layers are called as the module's submodules are.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from operator import getitem
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from coevo.errors import SpecError
from coevo.library import find_plugin, plugin_line
from coevo.networks.importing.operators import Shape, TensorGraph, as_text
from coevo.networks.importing.torch_operators import Reference
from coevo.networks.importing.torch_run import Reading, run

Given = tuple[str, Shape]
"""Type (``float32``, ``int64``, ...) and shape without batch of an input."""


def load_module(name: str) -> nn.Module:
    """Returns the network that ``path/to/file.py:name`` stands for: a module, or what makes one without arguments.

    Raises:
        SpecError: There is none, or it is or makes something else.
    """
    made = find_plugin("networks", name)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise SpecError(
                f"must be an nn.Module or a function that returns one, got {type(made).__name__}", file=name
            )
        try:
            made = made()
        except Exception as error:
            raise _failed(name, "fails when called without arguments", error) from error
    if not isinstance(made, nn.Module):
        raise SpecError(f"must return an nn.Module, returned {type(made).__name__}", file=name)
    return made.eval()


def read_module(module: nn.Module, name: str, inputs: Sequence[Given], ignored: Collection[str] = ()) -> TensorGraph:
    """Returns what a module computes for one sample.

    Args:
        module: The network; it is left in evaluation mode.
        name: For people and messages.
        inputs: Of ``forward``, in order; each gets a batch of one in front.
        ignored: Operators that count as nothing, e.g. ``aten.foo`` or ``foo``.

    Raises:
        SpecError: It cannot be run on such inputs, or uses an operator that is not understood.
    """
    module.eval()
    samples = tuple(torch.zeros((1, *shape), dtype=getattr(torch, kind)) for kind, shape in inputs)
    reading = Reading(TensorGraph(name), dict(module.named_modules()), frozenset(ignored))
    with _quiet():
        _trace(module, samples, reading)
    return reading.graph


@contextmanager
def _quiet() -> Iterator[None]:
    """Traces without gradients or warnings, attention as its plain operators (its fast path is opaque)."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _trace(module: nn.Module, samples: tuple[Tensor, ...], reading: Reading) -> None:
    try:
        # Without a table the decomposition only takes in-place operators and composites that torch does not keep.
        program = torch.export.export(module, samples, strict=False).run_decompositions({})
    except Exception:  # torch.export has many ways to refuse; what is wrong with the network shows when it runs
        try:
            run(module, samples, reading)
        except SpecError:
            raise
        except Exception as error:
            shapes = ", ".join(as_text(tuple(sample.shape)) for sample in samples)
            problem = f"cannot run on an input of {shapes} (change --input)"
            raise _failed(reading.graph.name, problem, error) from error
    else:
        _read_export(program, reading)


def _read_export(program: Any, reading: Reading) -> None:
    """Reads an ``ExportedProgram``."""
    sizes = {key: value.numel() for key, value in program.state_dict.items()}
    kinds = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    for node in program.graph.nodes:
        if node.op == "output":
            reading.graph.outputs = tuple(_tensor(item) for item in _flat(node.args) if isinstance(item, fx.Node))
        elif node.op == "placeholder":
            spec = kinds[node.name]
            parameter = None
            if spec.kind.name == "PARAMETER":
                parameter = str(spec.target), sizes[str(spec.target)]
            if isinstance(node.meta["val"], Tensor):
                reading.source(node.name, node.meta["val"], parameter, known=spec.kind.name != "USER_INPUT")
        elif node.op == "call_function" and node.target is not getitem:
            stack = node.meta.get("nn_module_stack") or {}
            paths = [str(entry[0]).removeprefix("L['self']").removeprefix(".") for entry in stack.values()]
            arguments = [_argument(value) for value in node.args]
            named = {key: _argument(value) for key, value in node.kwargs.items()}
            reading.call(node.target, arguments, named, _made(node), paths)


def _made(node: fx.Node) -> list[tuple[str, Tensor]]:
    """The tensors that a node makes, by name."""
    made = node.meta.get("val")
    if isinstance(made, Tensor):
        return [(node.name, made)]
    several = made if isinstance(made, list | tuple) else ()
    return [(f"{node.name}:{i}", value) for i, value in enumerate(several) if isinstance(value, Tensor)]


def _argument(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_argument(item) for item in value]
    return Reference(_tensor(value)) if isinstance(value, fx.Node) else value


def _tensor(node: fx.Node) -> str:
    """The name of a node's tensor; one of several is taken out by ``getitem``."""
    if node.target is getitem:
        source, index = node.args
        return f"{_tensor(cast('fx.Node', source))}:{index}"
    return node.name


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, dict):
        yield from _flat(list(value.values()))
    else:
        yield value


def _failed(name: str, problem: str, error: Exception) -> SpecError:
    """The error of a user's own code, with its place."""
    place = plugin_line(error)
    where = f" in line {place[1]}" if place else ""
    first = str(error).strip().split("\n")[0]
    return SpecError(f"{problem}: {type(error).__name__}{where}: {first}", file=name)
