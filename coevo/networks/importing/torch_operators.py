"""What torch's ATen operators do, in the words of `coevo.networks.importing.operators`.

Names are those of ``torch.ops.aten``. Both forms that torch gives are understood: the composite operators of a fresh
export (``conv2d``, ``linear``, ``scaled_dot_product_attention``) and the core set that they decompose into
(``convolution``, ``addmm``, ``_softmax``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
    einsum,
    product,
)


@dataclass(frozen=True)
class Call:
    """One call of an operator.

    Attributes:
        operator: Its name in ``torch.ops.aten``.
        name: Of its layer.
        arguments: Values by the schema's names, defaults included; tensors are `Reference`.
        outputs: Names of the tensors that it makes.
        shapes: Of all tensors so far.
    """

    operator: str
    name: str
    arguments: Mapping[str, Any]
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape]

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that it reads, in the schema's order."""
        return tuple(
            item.name
            for value in self.arguments.values()
            for item in (value if isinstance(value, list | tuple) else (value,))
            if isinstance(item, Reference)
        )

    def tensor(self, argument: str) -> str | None:
        """Returns the name of the tensor given as an argument; None if there is none."""
        value = self.arguments.get(argument)
        return value.name if isinstance(value, Reference) else None

    def shape(self, index: int) -> Shape:
        """Returns the shape of the tensor at a place among `tensors`."""
        return self.shapes[self.tensors[index]]

    def sizes(self, argument: str, axes: int, otherwise: Shape = ()) -> Shape:
        """Returns a size per axis; torch lets one number stand for all, and nothing for ``otherwise``."""
        value = self.arguments.get(argument)
        given = tuple(value) if isinstance(value, list | tuple) else () if value is None else (value,)
        return (given * axes if len(given) == 1 else given) or otherwise


@dataclass(frozen=True)
class Reference:
    """A tensor among the arguments of a call."""

    name: str


def translate(call: Call, graph: TensorGraph) -> bool:
    """Appends what an operator does to a graph; False if it is not understood."""
    operator = call.operator
    if operator in _SEVERAL:
        _SEVERAL[operator](call, graph)
    elif operator in _RULES:
        action = _RULES[operator](call)
        if action is None:
            return False
        graph.add(call.name, action, call.tensors, call.outputs)
    elif operator in _ACTIONS:
        graph.add(call.name, _ACTIONS[operator], call.tensors, call.outputs)
    else:
        return False
    return True


def _convolution(call: Call) -> Action:
    axes = len(call.shape(1)) - 2
    ones = (1,) * axes
    transposed = bool(call.arguments.get("transposed", "output_padding" in call.arguments))
    stride, dilation = call.sizes("stride", axes, ones), call.sizes("dilation", axes, ones)
    before = call.sizes("padding", axes, (0,) * axes) if transposed else ()
    return Convolution(int(call.arguments.get("groups", 1)), stride, dilation, transposed, before)


def _linear(call: Call) -> Action:
    given, weight = call.shape(0), call.shape(1)
    columns = weight[0] if len(weight) == 2 else 1
    return Contraction(1, math.prod(given[:-1]), given[-1], columns)


def _product(call: Call) -> Action:
    return product(call.shape(0), call.shape(1))


def _einsum(call: Call) -> Action | None:
    if len(call.tensors) != 2:
        return None
    return einsum(str(call.arguments["equation"]), call.shape(0), call.shape(1))


def _added_product(call: Call, graph: TensorGraph) -> None:
    """``self + first @ second``: what is added may be a bias, which is applied as the words are made, or a mask."""
    added, first, second = call.tensors
    scores = f"{call.outputs[0]}:product"
    graph.shapes[scores] = graph.shapes[call.outputs[0]]
    graph.add(call.name, product(call.shape(1), call.shape(2)), (first, second), (scores,))
    graph.add(f"{call.name}.add", Elementwise("add"), (scores, added), call.outputs)


def _attention(call: Call, graph: TensorGraph) -> None:
    mask = call.tensor("attn_mask") or call.tensor("attn_bias")
    query, key, value = call.tensors[:3]
    graph.attend(call.name, query, key, value, call.outputs[0], mask=mask)


def _pooling(call: Call) -> Action:
    axes = _axes(call.operator)
    window, ones = call.sizes("kernel_size", axes), (1,) * axes
    return Pooling(window, call.sizes("stride", axes, window), call.sizes("dilation", axes, ones))


def _adaptive(call: Call) -> Action:
    """Windows of equal size and distance that cover the map; they are torch's where the sizes divide."""
    axes = _axes(call.operator)
    made = call.shapes[call.outputs[0]][-axes:]
    if math.prod(made) == 1:
        return Reduction()
    given = call.shape(0)[-axes:]
    window = tuple(-(-size // out) for size, out in zip(given, made, strict=True))
    stride = tuple(max(1, size // out) for size, out in zip(given, made, strict=True))
    return Pooling(window, stride, (1,) * axes)


def _expand(call: Call) -> Action:
    return View() if math.prod(call.shape(0)) == math.prod(call.shapes[call.outputs[0]]) else Part()


def _transpose(call: Call) -> Action:
    rank = len(call.shape(0))
    order = list(range(rank))
    if rank > 1:
        a, b = (int(call.arguments.get(key, i)) % rank for i, key in enumerate(("dim0", "dim1")))
        order[a], order[b] = order[b], order[a]
    return permutation(order, call.shape(0))


def _permute(call: Call) -> Action:
    rank = len(call.shape(0))
    return permutation([int(axis) % rank for axis in call.arguments["dims"]], call.shape(0))


def permutation(order: Sequence[int], shape: Shape) -> Action:
    """Returns a permutation of axes; it is a view if all axes longer than 1 keep their order."""
    long = [axis for axis in order if shape[axis] > 1]
    return View() if long == sorted(long) else Permutation(tuple(order))


def _largest(call: Call) -> Action:
    return Elementwise() if len(call.tensors) > 1 else Reduction()


def _axes(operator: str) -> int:
    """Axes of a pooling's window, e.g. 2 of ``max_pool2d_with_indices``."""
    return int(operator.partition("pool")[2][0])


_VIEWS = """
    alias clone contiguous detach dropout alpha_dropout feature_dropout native_dropout flatten lift_fresh_copy
    reshape view _unsafe_view unflatten squeeze unsqueeze view_as reshape_as to _to_copy type_as
"""
_PARTS = "chunk narrow select slice split split_with_sizes unbind diagonal tensor_split expand_as broadcast_to"
_PERMUTATIONS = "channel_shuffle flip pixel_shuffle pixel_unshuffle roll rot90"
_MOVES = """
    cat stack concat hstack vstack repeat tile repeat_interleave embedding index index_select gather take
    index_put scatter slice_scatter select_scatter masked_scatter scatter_add index_add index_copy copy im2col col2im
    unfold cumsum grid_sampler grid_sampler_2d grid_sampler_3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d
    upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
"""
_CONSTANTS = """
    arange empty empty_like eye full full_like linspace new_empty new_full new_ones new_zeros ones ones_like
    scalar_tensor zeros zeros_like empty_permuted tril_indices triu_indices
"""
_REDUCTIONS = """
    mean sum amax amin argmax argmin prod var std var_mean std_mean any all norm linalg_vector_norm logsumexp
    median count_nonzero
"""
_ELEMENTWISE = """
    abs addcdiv addcmul bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min cos
    cosh div elu eq erf exp exp2 expm1 fill floor floor_divide fmod gelu ge gt hardshrink hardsigmoid hardswish hardtanh
    isinf isnan le leaky_relu lerp log log10 log1p log2 log_sigmoid log_sigmoid_forward logical_and logical_not
    logical_or logical_xor lt masked_fill maximum minimum mish mul multiply nan_to_num ne neg pow prelu _prelu_kernel
    reciprocal relu relu6 remainder round rrelu rrelu_with_noise rsqrt rsub selu sigmoid sign silu sin sinh softplus
    softshrink sqrt square sub tan tanh tanhshrink threshold tril triu trunc true_divide where
"""
_ATTENTIONS = """
    scaled_dot_product_attention _scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention
    _scaled_dot_product_fused_attention_overrideable _scaled_dot_product_attention_math
"""

_ACTIONS: Mapping[str, Action] = {
    name: action
    for names, action in (
        (_VIEWS, View()),
        (_PARTS, Part()),
        (_PERMUTATIONS, Permutation()),
        (_MOVES, Move()),
        (_CONSTANTS, Constant()),
        (_REDUCTIONS, Reduction()),
        (_ELEMENTWISE, Elementwise()),
        ("add", Elementwise("add")),
        ("pad constant_pad_nd zero_pad2d", Padding()),
        ("batch_norm _native_batch_norm_legit_no_training native_batch_norm cudnn_batch_norm", BatchNorm()),
        ("layer_norm native_layer_norm group_norm native_group_norm instance_norm rms_norm", Passes("norm", 2)),
        ("_fused_rms_norm local_response_norm", Passes("norm", 2)),
        ("softmax _softmax log_softmax _log_softmax _safe_softmax", Passes("softmax", 3)),
        ("glu", Passes("elementwise", 2)),
    )
    for name in names.split()
}

_RULES: Mapping[str, Callable[[Call], Action | None]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "_convolution"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _convolution),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), _product),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"), _pooling),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices"), _pooling),
    **{f"{under}adaptive_avg_pool{n}d": _adaptive for under in ("", "_") for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive for n in (1, 2, 3)},
    **dict.fromkeys(("transpose", "t", "swapaxes"), _transpose),
    **dict.fromkeys(("max", "min"), _largest),
    "linear": _linear,
    "einsum": _einsum,
    "expand": _expand,
    "permute": _permute,
}

_SEVERAL: Mapping[str, Callable[[Call, TensorGraph], None]] = {
    **dict.fromkeys(("addmm", "baddbmm"), _added_product),
    **dict.fromkeys(_ATTENTIONS.split(), _attention),
}
