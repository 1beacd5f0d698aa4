"""What ONNX's operators do, in the words of `coevo.networks.importing.operators`.

Names and attributes are those of https://onnx.ai/onnx/operators of the default domain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from coevo.networks.importing.operators import (
    Action,
    BatchNorm,
    Constant,
    Contraction,
    Convolution,
    Elementwise,
    Move,
    Padding,
    Part,
    Passes,
    Permutation,
    Pooling,
    Reduction,
    Shape,
    TensorGraph,
    View,
    as_text,
    einsum,
    product,
)


@dataclass(frozen=True)
class Step:
    """One node of the file.

    Attributes:
        operator: Its type.
        name: Of its layer.
        attributes: By name.
        inputs: Names of its inputs; empty for one that is left out.
        outputs: Names of its outputs.
        shapes: Of all tensors.
    """

    operator: str
    name: str
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape]

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the inputs that are given."""
        return tuple(name for name in self.inputs if name)

    @property
    def made(self) -> Shape:
        """Shape of the first output."""
        return self.shapes[self.outputs[0]]

    def shape(self, index: int) -> Shape:
        """Returns the shape of an input."""
        return self.shapes[self.inputs[index]]

    def sizes(self, attribute: str, otherwise: Shape) -> Shape:
        """Returns a size per axis."""
        return tuple(self.attributes.get(attribute, otherwise))


def translate(step: Step, graph: TensorGraph) -> bool:
    """Appends what a node does to a graph; False if it is not understood."""
    if step.operator in _SEVERAL:
        return _SEVERAL[step.operator](step, graph)
    rule = _RULES.get(step.operator)
    action = rule(step) if rule else _ACTIONS.get(step.operator)
    if action is None:
        return False
    inputs = _OPERANDS[step.operator](step) if step.operator in _OPERANDS else step.tensors
    outputs = step.outputs if isinstance(action, Part) else step.outputs[:1]
    graph.add(step.name, action, inputs, outputs)
    return True


def _convolution(step: Step) -> Action:
    weights = step.shapes[_operands(step)[1]]
    axes = len(weights) - 2
    ones = (1,) * axes
    stride, dilation = step.sizes("strides", ones), step.sizes("dilations", ones)
    transposed = step.operator == "ConvTranspose"
    groups = int(step.attributes.get("group", 1))
    channels = weights[0] if transposed else weights[1] * groups
    if groups < 1 or min(stride + dilation) < 1 or step.shape(0)[1] != channels or weights[0] % groups:
        raise ValueError(f"{as_text(step.shape(0))} does not fit filters {as_text(weights)} in {groups} groups")
    before: Shape = ()
    if transposed:
        full = [
            stride[i] * (step.shape(0)[2 + i] - 1) + (weights[2 + i] - 1) * dilation[i] + 1 for i in range(axes)
        ]  # without padding; what SAME or an output_shape cuts off is divided between both ends
        extra = step.sizes("output_padding", (0,) * axes)
        cut = [max(0, full[i] + extra[i] - step.made[2 + i]) for i in range(axes)]
        upper = step.attributes.get("auto_pad", "NOTSET") != "SAME_LOWER"
        before = tuple(size // 2 if upper else size - size // 2 for size in cut)
        if step.attributes.get("auto_pad", "NOTSET") == "NOTSET" and "output_shape" not in step.attributes:
            before = step.sizes("pads", (0,) * 2 * axes)[:axes]
    return Convolution(groups, stride, dilation, transposed, before)


def _operands(step: Step) -> tuple[str, ...]:
    """Input, weights and bias; quantised operators carry scales and zero points between them."""
    places = {"QLinearConv": (0, 3, 8), "QLinearMatMul": (0, 3)}.get(step.operator, (0, 1, 2))
    if step.operator.endswith("Integer"):
        places = (0, 1)
    return tuple(step.inputs[i] for i in places if i < len(step.inputs) and step.inputs[i])


def _product(step: Step) -> Action:
    first, second = (step.shapes[name] for name in _operands(step)[:2])
    return product(first, second)


def _einsum(step: Step) -> Action | None:
    return einsum(str(step.attributes["equation"]), *map(step.shapes.__getitem__, step.inputs)) \
        if len(step.inputs) == 2 else None  # fmt: skip


def _gemm(step: Step, graph: TensorGraph) -> bool:
    """``A' B' + C``; C is a bias if it is known and has a number per column, else it is added in a pass."""
    first, second = step.shape(0), step.shape(1)
    rows, inner = reversed(first) if step.attributes.get("transA") else first
    columns = second[0] if step.attributes.get("transB") else second[1]
    added = step.tensors[2:]
    made = f"{step.outputs[0]}:product" if added else step.outputs[0]
    graph.shapes[made] = step.made
    graph.add(step.name, Contraction(1, rows, inner, columns), step.tensors[:2], (made,))
    if added:
        graph.add(f"{step.name}.add", Elementwise("add"), (made, *added), step.outputs)
    return True


def _attention(step: Step, graph: TensorGraph) -> bool:
    """Opset 23's; of three axes, heads are split off the last without moving a word. A cache is not understood."""
    if len(step.tensors) > 4 or len(step.outputs) > 1 or any(not name for name in step.inputs[:3]):
        return False
    names = []
    for name, heads in zip(step.inputs[:3], ("q_num_heads", "kv_num_heads", "kv_num_heads"), strict=True):
        shape = step.shapes[name]
        if len(shape) == 3:
            batch, length, width = shape
            count = int(step.attributes[heads])
            split = f"{step.outputs[0]}:{name}"
            graph.shapes[split] = (batch, count, length, width // count)
            graph.add(f"{step.name}.heads", View(), (name,), (split,))
            name = split  # noqa: PLW2901 - the same words
        names.append(name)
    mask = step.tensors[3] if len(step.tensors) > 3 else None
    query, key, value = names
    graph.attend(step.name, query, key, value, step.outputs[0], mask=mask)
    return True


def _pooling(step: Step) -> Action:
    window = tuple(step.attributes["kernel_shape"])
    ones = (1,) * len(window)
    return Pooling(window, step.sizes("strides", ones), step.sizes("dilations", ones))


def _transpose(step: Step) -> Action:
    rank = len(step.shape(0))
    return permutation(step.sizes("perm", tuple(reversed(range(rank)))), step.shape(0))


def permutation(order: Shape, shape: Shape) -> Action:
    """Returns a permutation of axes; it is a view if all axes longer than 1 keep their order."""
    long = [axis for axis in order if shape[axis] > 1]
    return View() if long == sorted(long) else Permutation(tuple(order))


def _expand(step: Step) -> Action:
    return View() if math.prod(step.shape(0)) == math.prod(step.made) else Part()


def _gather(step: Step) -> Action:
    """One index takes a part; several look words up."""
    return Part() if math.prod(step.shape(1)) == 1 else Move()


def _extreme(step: Step) -> Action:
    return Elementwise() if len(step.tensors) > 1 else View()


_VIEWS = "Identity Dropout Reshape Flatten Squeeze Unsqueeze Cast CastLike"
_PERMUTATIONS = "DepthToSpace SpaceToDepth"
_MOVES = """
    Concat Tile Resize Upsample GatherElements GatherND Scatter ScatterElements ScatterND ReverseSequence CumSum
    GridSample Col2Im AffineGrid OneHot TensorScatter
"""
_CONSTANTS = """
    Constant ConstantOfShape Shape Size Range EyeLike RandomNormal RandomUniform RandomNormalLike RandomUniformLike
"""
_REDUCTIONS = """
    ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceSumSquare ArgMax ArgMin GlobalAveragePool GlobalMaxPool GlobalLpPool
"""
_ELEMENTWISE = """
    Abs Acos Acosh And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Celu Clip Cos
    Cosh DequantizeLinear Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf
    IsNaN LeakyRelu Less LessOrEqual Log Mish Mod Mul Neg Not Or PRelu Pow QuantizeLinear Reciprocal Relu Round Selu
    Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Swish Tan Tanh ThresholdedRelu Trilu Where Xor
    RotaryEmbedding
"""
_NORMS = """
    LayerNormalization GroupNormalization InstanceNormalization RMSNormalization LpNormalization LRN
    MeanVarianceNormalization
"""

_ACTIONS: Mapping[str, Action] = {
    name: action
    for names, action in (
        (_VIEWS, View()),
        ("Split Slice", Part()),
        (_PERMUTATIONS, Permutation()),
        (_MOVES, Move()),
        (_CONSTANTS, Constant()),
        (_REDUCTIONS, Reduction()),
        (_ELEMENTWISE, Elementwise()),
        ("Add", Elementwise("add")),
        ("Pad", Padding()),
        ("BatchNormalization", BatchNorm()),
        (_NORMS, Passes("norm", 2)),
        ("Softmax LogSoftmax", Passes("softmax", 3)),
    )
    for name in names.split()
}

_RULES: Mapping[str, Callable[[Step], Action | None]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "ConvInteger", "QLinearConv"), _convolution),
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul"), _product),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pooling),
    **dict.fromkeys(("Max", "Min"), _extreme),
    **dict.fromkeys(("Sum", "Mean"), lambda step: Elementwise("add") if len(step.tensors) > 1 else View()),
    "Einsum": _einsum,
    "Expand": _expand,
    "Gather": _gather,
    "Transpose": _transpose,
}

_OPERANDS: Mapping[str, Callable[[Step], tuple[str, ...]]] = dict.fromkeys(
    ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "MatMul", "MatMulInteger", "QLinearMatMul"), _operands
)

_SEVERAL: Mapping[str, Callable[[Step, TensorGraph], bool]] = {"Gemm": _gemm, "Attention": _attention}
