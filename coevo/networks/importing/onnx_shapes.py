"""Shapes of the tensors in an ONNX graph, node by node, by ONNX's own inference.

Exporters write shapes as arithmetic on small tensors (Shape, Gather, Mul, Concat, then Reshape). That arithmetic is
worked out, with the operators of `_ARITHMETIC` on at most `_WORDS` numbers; nothing else in the file is ever run.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import infer_node_outputs

from coevo.networks.importing.operators import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORDS = 4096

_OPERATORS = """
    Abs Add And Cast Ceil Clip Concat ConstantOfShape Div Equal Floor Gather Greater GreaterOrEqual Identity Less
    LessOrEqual Max Min Mod Mul Neg Not Or Pow Range ReduceMax ReduceMin ReduceProd ReduceSum Reshape Round Slice Split
    Sqrt Squeeze Sub Transpose Unsqueeze Where
"""
_ARITHMETIC = frozenset(_OPERATORS.split())


class Inference:
    """Knows the type of every tensor so far, and the numbers of the small constant ones.

    Args:
        model: Whose nodes are asked for in order; its inputs have sizes.

    Attributes:
        shapes: Of every tensor so far whose shape is known.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.shapes: dict[str, Shape] = {}
        self._types: dict[str, onnx.TypeProto] = {}
        self._numbers: dict[str, NDArray[Any]] = {}
        self._opsets = list(model.opset_import)
        self._versions = {opset.domain: opset.version for opset in model.opset_import}
        self._ir = model.ir_version
        for value in model.graph.input:
            self._set(value.name, value.type)
        for tensor in model.graph.initializer:
            self._set(tensor.name, onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims))
            if tensor.data_location != tensor.EXTERNAL and math.prod(tensor.dims) <= _WORDS:
                self._numbers[tensor.name] = numpy_helper.to_array(tensor)

    def pass_on(self, node: onnx.NodeProto) -> None:
        """Gives all outputs of a node the type of its first input."""
        for name in filter(None, node.output):
            if node.input and node.input[0] in self._types:
                self._set(name, self._types[node.input[0]])

    def infer(self, node: onnx.NodeProto) -> None:
        """Takes in the outputs of a node as far as they can be known.

        Raises:
            Exception: Of many kinds: the node does not fit its inputs.
        """
        numbers = self._work_out(node)
        if numbers is not None:
            for name, array in zip(node.output, numbers, strict=True):
                kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
                self._set(name, onnx.helper.make_tensor_type_proto(kind, array.shape))
                self._numbers[name] = array
            return
        schema = onnx.defs.get_schema(node.op_type, self._versions.get(node.domain, 1), node.domain)
        given = [name for name in node.input if name]
        made = infer_node_outputs(
            schema,
            node,
            {name: self._types[name] for name in given if name in self._types},
            {name: numpy_helper.from_array(self._numbers[name]) for name in given if name in self._numbers},
            opset_imports=self._opsets,
            ir_version=self._ir,
        )
        for name, kind in made.items():
            self._set(name, kind)

    def _work_out(self, node: onnx.NodeProto) -> list[NDArray[Any]] | None:
        """The outputs' numbers, if they are shapes and arithmetic on them."""
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Shape" and node.input[0] in self.shapes:
            start, end = attributes.get("start", 0), attributes.get("end")
            return [np.array(self.shapes[node.input[0]][start:end], dtype=np.int64)]
        if node.op_type == "Size" and node.input[0] in self.shapes:
            return [np.array(math.prod(self.shapes[node.input[0]]), dtype=np.int64)]
        if node.op_type == "Constant":
            known = set(attributes) & {"value", "value_int", "value_ints", "value_float", "value_floats"}
            small = "value" not in attributes or math.prod(attributes["value"].dims) <= _WORDS
            inside = "value" not in attributes or attributes["value"].data_location != onnx.TensorProto.EXTERNAL
            if not (known and small and inside):
                return None
        elif node.op_type not in _ARITHMETIC or not all(x in self._numbers for x in node.input if x):
            return None
        feeds: dict[str, Any] = {name: self._numbers[name] for name in node.input if name}
        if _made(node.op_type, list(feeds.values())) > _WORDS:
            return None
        evaluator = ReferenceEvaluator(_as_model(node, self._opsets, self._ir))
        return [np.asarray(value) for value in evaluator.run(None, feeds)]

    def _set(self, name: str, kind: onnx.TypeProto) -> None:
        self._types[name] = kind
        shape = kind.tensor_type.shape
        if kind.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in shape.dim):
            self.shapes[name] = tuple(dim.dim_value for dim in shape.dim)


def _made(operator: str, given: list[NDArray[Any]]) -> float:
    """How many numbers come out of those operators whose result can be much larger than what they read."""
    if operator == "ConstantOfShape":
        return math.prod(int(size) for size in given[0])
    if operator == "Range":
        start, limit, delta = (float(number) for number in given)
        return abs((limit - start) / delta) if delta else math.inf
    if operator == "Gather":
        return given[0].size * given[1].size
    return math.prod(max(array.shape[axis - 1] if array.ndim >= axis else 1 for array in given)
                     for axis in range(1, 1 + max((array.ndim for array in given), default=0)))  # fmt: skip


def _as_model(node: onnx.NodeProto, opsets: list[Any], ir: int) -> onnx.ModelProto:
    """A model of one node, at the file's versions."""
    inputs = [onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(node.input) if name]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "shape", inputs, outputs)
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=ir)
