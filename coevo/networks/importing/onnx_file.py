"""Reads an ONNX file as a `TensorGraph`. Nothing in it is run: shapes come from ONNX's own inference.

The batch, a first axis without a number, is 1. Trainable parameters are the initializers in floating point, or
quantised, of more than one word, except a batch norm's statistics: what an exporter folded or shared is counted as it
stands in the file.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from coevo.errors import BackendError, SpecError
from coevo.networks.importing.onnx_operators import Step, translate
from coevo.networks.importing.operators import Ignored, Shape, TensorGraph, as_text, not_understood

if TYPE_CHECKING:
    import onnx

MAX_BYTES = 2**31 - 1
"""Largest file that protobuf reads; larger networks keep their weights in files beside."""

MAX_SIZE = 2**31 - 1
"""Largest dimension of a tensor."""

_DOMAINS = ("", "ai.onnx")


def read_onnx(path: Path, inputs: Sequence[Shape] = (), ignored: Collection[str] = ()) -> TensorGraph:
    """Returns what the network in an ONNX file computes.

    Args:
        path: The file.
        inputs: Shapes without batch of the network's inputs, in order, where the file leaves them open.
        ignored: Operators that count as nothing.

    Raises:
        SpecError: The file is absent, damaged or too large, its weights are missing, a size is unknown, or an
            operator is not understood.
        BackendError: The package onnx is not installed.
    """
    model = _load(path)
    try:
        _check_external(path, model)
        _set_inputs(path, model, inputs)
        return _Reader(path, model, frozenset(ignored)).read()
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # protobuf takes fields of the wrong type, names that are no text and tensors of the wrong size; they show here
        raise SpecError(f"is damaged ({type(error).__name__}: {_first_line(error)}); export it again", file=str(path)) \
            from error  # fmt: skip


def _load(path: Path) -> onnx.ModelProto:
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise BackendError(f"{path}: reading ONNX needs the package onnx: pip install 'coevo[onnx]'") from error
    if not path.exists():
        raise SpecError("there is no such file", file=str(path))
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise SpecError("is not a file", file=str(path))
    if status.st_size > MAX_BYTES:
        raise SpecError(
            f"{status.st_size:,} bytes, more than an ONNX file can hold ({MAX_BYTES:,}); save it with external data",
            file=str(path),
        )
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise SpecError(
            f"is not an ONNX model, or damaged ({_first_line(error)}); export it again", file=str(path)
        ) from error
    if not model.graph.node or not model.graph.output:
        raise SpecError("holds no network (a graph with nodes and outputs); export it again", file=str(path))
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    return model


def _check_external(path: Path, model: onnx.ModelProto) -> None:
    """Refuses weights that are said to stand in a file beside, and do not."""
    for tensor in model.graph.initializer:
        if tensor.data_location != tensor.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        place = PurePath(name)
        if not name or place.is_absolute() or ".." in place.parts:
            raise SpecError(
                f"its external data {name!r} must be a file beside it", file=str(path), field=_label(tensor.name)
            )
        try:
            size = os.stat(path.parent / place).st_size
        except OSError:
            raise SpecError(
                f"its weights stand in {name!r}, which is missing; put that file beside it",
                file=str(path),
                field=_label(tensor.name),
            ) from None
        needed = sum(int(entries[key]) for key in ("offset", "length") if entries.get(key, "").isdecimal())
        if size < needed:
            raise SpecError(
                f"its weights end at byte {needed:,} of {name!r}, which has {size:,}; it is damaged, export it again",
                file=str(path), field=_label(tensor.name),
            )  # fmt: skip


def _set_inputs(path: Path, model: onnx.ModelProto, given: Sequence[Shape]) -> None:
    """Sets a batch of one and the sizes that the file leaves open."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(given) > len(inputs):
        raise SpecError(f"gives {len(given)} inputs, the network has {len(inputs)}", field="--input")
    for i, value in enumerate(inputs):
        if not value.type.HasField("tensor_type"):
            raise SpecError(
                "input is no tensor; export the network with tensors alone", file=str(path), field=_label(value.name)
            )
        shape = value.type.tensor_type.shape
        if i < len(given):
            _override(path, value.name, shape, given[i])
        for axis, dim in enumerate(shape.dim):
            if dim.dim_value < 1:
                if axis:
                    label = dim.dim_param or f"axis {axis}"
                    raise SpecError(f"input size {label!r} is open; give it with --input {_example(shape)}",
                                    file=str(path), field=_label(value.name))  # fmt: skip
                dim.dim_value = 1
            if dim.dim_value > MAX_SIZE:
                raise SpecError(f"input size {dim.dim_value} is too large", file=str(path), field=_label(value.name))


def _override(path: Path, name: str, shape: Any, given: Shape) -> None:
    """Fills open sizes of an input from --input; a size that the file fixes must agree."""
    if not shape.dim:
        for size in (1, *given):
            shape.dim.add().dim_value = size
    fixed = [dim.dim_value for dim in shape.dim][1:]
    if len(fixed) != len(given) or any(old not in (0, new) for old, new in zip(fixed, given, strict=True)):
        raise SpecError(
            f"the file's input {name!r} is {_example(shape)} (without batch), --input says {as_text(given)}",
            file=str(path), field="--input",
        )  # fmt: skip
    for dim, size in zip(list(shape.dim)[1:], given, strict=True):
        dim.dim_value = size


def _example(shape: Any) -> str:
    """An input's sizes after the batch, e.g. ``3xHEIGHTxWIDTH``."""
    return "x".join(str(dim.dim_value or dim.dim_param.upper() or "SIZE") for dim in list(shape.dim)[1:]) or "SIZE"


class _Reader:
    """Translates the nodes of a model whose shapes are known."""

    def __init__(self, path: Path, model: onnx.ModelProto, ignored: frozenset[str]) -> None:
        from coevo.networks.importing.onnx_shapes import Inference

        self._file = str(path)
        self._model = model
        self._ignored = ignored
        self._inference = Inference(model)
        self._graph = TensorGraph(self._file, shapes=self._inference.shapes)

    def read(self) -> TensorGraph:
        self._store()
        self._graph.outputs = tuple(output.name for output in self._model.graph.output)
        for node in self._model.graph.node:
            self._node(node)
        if missing := [name for name in self._graph.outputs if name not in self._graph.shapes]:
            raise SpecError("no node makes this output; export it again", file=self._file, field=_label(missing[0]))
        return self._graph

    def _store(self) -> None:
        """Initializers; those that training changes are parameters."""
        import onnx

        whole = {onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING}
        frozen = {name for node in self._model.graph.node for name in _not_trained(node)}
        for tensor in self._model.graph.initializer:
            shape = tuple(tensor.dims)
            self._graph.shapes[tensor.name] = shape
            count = math.prod(shape)
            trained = tensor.data_type not in whole and count > 1 and tensor.name not in frozen
            self._graph.parameters[tensor.name] = {tensor.name: count} if trained else {}
        for tensor in self._model.graph.sparse_initializer:
            self._graph.shapes[tensor.values.name] = tuple(tensor.dims)
            self._graph.parameters[tensor.values.name] = {tensor.values.name: tensor.values.dims[0]}

    def _node(self, node: onnx.NodeProto) -> None:
        name = node.name or next(filter(None, node.output), node.op_type)
        outputs, given = tuple(filter(None, node.output)), tuple(filter(None, node.input))
        step = Step(node.op_type, name, _attributes(node), tuple(node.input), outputs, self._graph.shapes)
        if missing := [tensor for tensor in given if tensor not in self._graph.shapes]:
            raise SpecError(
                f"its input {missing[0]!r} comes from nowhere; export it again", file=self._file, field=name
            )
        foreign = node.domain not in _DOMAINS
        ignored = node.op_type in self._ignored
        if foreign or any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            if not ignored:
                why = f"of {node.domain} is not understood" if foreign else "holds graphs of its own"
                raise not_understood(node.op_type, file=self._file, node=_label(name), why=why)
            self._inference.pass_on(node)
        else:
            self._infer(node, name, outputs)
        if ignored or (given and self._graph.known(given)):  # the latter is known before the network runs
            self._graph.add(name, Ignored(), given, outputs)
        elif not self._translate(step):
            raise not_understood(node.op_type, file=self._file, node=_label(name))

    def _translate(self, step: Step) -> bool:
        try:
            return translate(step, self._graph)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise SpecError(f"{step.operator} is not as ONNX defines it ({what}); export it again",
                            file=self._file, field=_label(step.name)) from error  # fmt: skip

    def _infer(self, node: onnx.NodeProto, name: str, outputs: tuple[str, ...]) -> None:
        """Shapes of what a node makes; refuses those that are not fixed."""
        reason = "export the network with fixed sizes, or simplify it"
        try:
            self._inference.infer(node)
        except Exception as error:  # onnx raises errors of its own, or of numpy's
            reason = f"{_first_line(error)}; export it again"
        for tensor in outputs:
            shape = self._graph.shapes.get(tensor)
            if shape is None:
                raise SpecError(f"the shape that {node.op_type} makes cannot be inferred: {reason}",
                                file=self._file, field=_label(name))  # fmt: skip
            if max(shape, default=1) > MAX_SIZE:
                raise SpecError(
                    f"{node.op_type} makes {as_text(shape)}, too large", file=self._file, field=_label(name)
                )


def _not_trained(node: onnx.NodeProto) -> Iterator[str]:
    """Inputs of a node that training does not change: statistics, scales and zero points, bounds."""
    if node.op_type == "BatchNormalization":
        yield from node.input[3:5]
    elif node.op_type in ("QuantizeLinear", "DequantizeLinear", "Clip", "Resize", "Pad"):
        yield from node.input[1:]
    elif node.op_type in ("QLinearConv", "QLinearMatMul"):
        yield from (name for i, name in enumerate(node.input) if i not in (0, 3, 8))


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx.helper import get_attribute_value

    values = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
    return {key: value.decode(errors="replace") if isinstance(value, bytes) else value for key, value in values.items()}


def _label(name: str) -> str:
    """A name in the file as it can be shown in one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:200])


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
