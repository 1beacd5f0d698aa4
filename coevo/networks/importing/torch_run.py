"""Operators of torch as they come, by an export or one by one while a module runs, into a `TensorGraph`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from coevo.errors import SpecError
from coevo.networks.importing.operators import Ignored, TensorGraph, not_understood
from coevo.networks.importing.torch_operators import Call, Reference, translate


@dataclass(frozen=True)
class Reading:
    """A graph while it is read.

    Attributes:
        graph: What has been read.
        modules: The network's submodules by name.
        ignored: Operators that count as nothing.
    """

    graph: TensorGraph
    modules: Mapping[str, nn.Module]
    ignored: Collection[str] = ()

    def source(self, name: str, value: Tensor, parameter: tuple[str, int] | None, *, known: bool) -> None:
        """Takes in an input, or a tensor known before the network runs: a parameter (name, words) or a buffer."""
        self.graph.shapes[name] = tuple(value.shape)
        if known:
            self.graph.parameters[name] = dict([parameter]) if parameter else {}

    def call(
        self,
        target: Any,
        arguments: Sequence[Any],
        named: Mapping[str, Any],
        made: Sequence[tuple[str, Tensor]],
        paths: Sequence[str],
    ) -> None:
        """Takes in a call of an operator.

        Args:
            target: The operator's overload.
            arguments: By place; tensors are `Reference`.
            named: By name.
            made: Name and value of every tensor that it makes.
            paths: Names of the submodules that run, outermost first.

        Raises:
            SpecError: The operator is not understood.
        """
        if not made:  # an assertion: no data
            return
        for name, value in made:
            self.graph.shapes[name] = tuple(value.shape)
        operator, bound = _bound(target, arguments, named)
        short = operator.removeprefix("aten.")
        call = Call(short, self._name(paths, short), bound, tuple(name for name, _ in made), self.graph.shapes)
        folded = bool(call.tensors) and self.graph.known(call.tensors)  # known before the network runs
        if folded or {operator, short} & set(self.ignored):
            self.graph.add(call.name, Ignored(), call.tensors, call.outputs)
        elif not (operator.startswith("aten.") and translate(call, self.graph)):
            raise not_understood(operator, file=self.graph.name, node=call.name)

    def _name(self, paths: Sequence[str], operator: str) -> str:
        """The innermost submodule's name, with the operator's unless the submodule is a layer by itself."""
        path = next((path for path in reversed(paths) if path in self.modules), "")
        if path and not any(self.modules[path].children()):
            return path
        return f"{path}.{operator}" if path else operator


def _bound(target: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The operator's name and its arguments by the schema's names, defaults included."""
    if not isinstance(target, torch._ops.OpOverload):
        return getattr(target, "__name__", str(target)), {str(i): value for i, value in enumerate(arguments)}
    bound: dict[str, Any] = {}
    for i, argument in enumerate(target._schema.arguments):
        if i < len(arguments):
            bound[argument.name] = arguments[i]
        elif argument.name in named:
            bound[argument.name] = named[argument.name]
        elif argument.has_default_value():
            bound[argument.name] = argument.default_value
    return f"{target.namespace}.{target.overloadpacket.__name__}", bound


def run(module: nn.Module, samples: Sequence[Tensor], reading: Reading) -> None:
    """Runs a module once and reads the operators that it calls.

    Raises:
        SpecError: An operator is not understood, or changes words that others hold too.
        Exception: The module's own.
    """
    module(*samples)  # lazy modules take their shapes; an error here is the network's own
    recorder = _Recorder(reading)
    for name, parameter in module.named_parameters():
        recorder.hold(parameter, f"p:{name}", (name, parameter.numel()), known=True)
    for name, buffer in module.named_buffers():
        recorder.hold(buffer, f"b:{name}", None, known=True)
    for i, sample in enumerate(samples):
        recorder.hold(sample, f"input:{i}", None, known=False)
    hooks = []
    for name, child in module.named_modules():
        hooks.append(child.register_forward_pre_hook(_enter(recorder.paths, name)))
        hooks.append(child.register_forward_hook(lambda *_: recorder.leave()))
    try:
        with recorder:
            made = module(*samples)
    finally:
        for hook in hooks:
            hook.remove()
    reading.graph.outputs = tuple(recorder.name(value) for value in _tensors(made))


def _enter(paths: list[str], name: str) -> Callable[..., None]:
    def hook(*_: object) -> None:
        paths.append(name)

    return hook


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator below autograd; tensors are known by identity, so they are kept until the end."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.paths: list[str] = []
        self._reading = reading
        self._names: dict[int, str] = {}
        self._kept: list[Tensor] = []
        self._stale: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs an operator and takes it in."""
        kwargs = kwargs or {}
        given, named = [self._refer(value) for value in args], {key: self._refer(kwargs[key]) for key in kwargs}
        result = func(*args, **kwargs)
        if func is torch.ops.aten.detach.default:
            self._names[id(result)] = self.name(args[0])
            self._kept.append(result)
            return result
        schema = func._schema
        if schema.is_mutable and schema.name.endswith("_"):
            self._changed(args[0])
        count = len(self._reading.graph.operators)
        made = []
        for i, value in enumerate(_tensors(result)):
            made.append((f"{count}:{schema.name}:{i}:{len(self._kept)}", value))
            self._names[id(value)] = made[-1][0]
            self._kept.append(value)
        self._reading.call(_out_of_place(func), given, named, made, self.paths)
        return result

    def hold(self, value: Tensor, name: str, parameter: tuple[str, int] | None, *, known: bool) -> None:
        """Takes in a tensor that no operator made."""
        self._names[id(value)] = name
        self._kept.append(value)
        self._reading.source(name, value, parameter, known=known)

    def leave(self) -> None:
        """Leaves the innermost submodule."""
        self.paths.pop()

    def name(self, value: Tensor) -> str:
        """Returns a tensor's name; one that appears from nowhere is a constant of the code."""
        if id(value) in self._stale:
            raise SpecError(
                "is changed in place through a part or view of it, which cannot be followed; write it without",
                file=self._reading.graph.name, field=".".join(self.paths[-1:]),
            )  # fmt: skip
        if id(value) not in self._names:
            self.hold(value, f"constant:{len(self._kept)}", None, known=True)
        return self._names[id(value)]

    def _refer(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return Reference(self.name(value))
        return [self._refer(item) for item in value] if isinstance(value, list | tuple) else value

    def _changed(self, value: Tensor) -> None:
        """Other tensors on the same words no longer hold what their names say."""
        place = value.untyped_storage().data_ptr()
        self._stale |= {
            id(other) for other in self._kept if other is not value and other.untyped_storage().data_ptr() == place
        }


def _out_of_place(func: Any) -> Any:
    """The operator that makes what an in-place one leaves behind."""
    name = func.overloadpacket.__name__
    plain = getattr(torch.ops.aten, name.removesuffix("_"), None) if name.endswith("_") else None
    return getattr(plain, func._overloadname, func) if plain is not None else func


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    values = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [found for item in values for found in _tensors(item)]
