"""A trained network as an ONNX model: operators of the default domain, each under its node's name.

Maps are ``(batch, channel, height, width)``, tokens ``(batch, token, channel)``. Bit widths are kept: what a node reads
with so many bits goes through QuantizeLinear and DequantizeLinear, and weights are stored as integers with a step per
output channel. Integers of up to 8 bits are stored in 8, wider ones in 16; a grid that is narrower than its storage is
clipped to first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from coevo.errors import BackendError
from coevo.networks.exporting import onnx_sequence
from coevo.networks.exporting.onnx_sequence import is_sequence
from coevo.networks.graph import INPUT, Activation, Add, Conv, GlobalPool, Graph, Linear, Node, Norm, Pool, Zeros
from coevo.networks.quantised import ActivationGrid, QuantisedConv2d, QuantisedLinear, Stored, with_stored
from coevo.networks.sequence import FirstToken, LayerNorm, Mix, Scores, SequenceNode, Softmax, Tokens

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

OPSET, IR_VERSION = 21, 10
"""Of September 2024: the first operators that quantise to 16 bits."""

IMAGES, LOGITS = "images", "logits"
"""Names of the model's input and output."""


def onnx_model(graph: Graph, module: nn.Module, facts: Mapping[str, str]) -> bytes:
    """Returns the model: input ``images (batch, channel, height, width)``, output ``logits (batch, class)``.

    Args:
        graph: The network; its last node is a `Linear`.
        module: The graph's `coevo.networks.modules.GraphModule`, with its weights.
        facts: Texts to keep with the model, by name.

    Raises:
        BackendError: The package onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendError("writing ONNX needs the package onnx: pip install 'coevo[onnx]'") from error
    writer = Writer(module, graph)
    for step, _ in with_stored(graph):
        writer.take(step)
    writer.add("Flatten", [writer.values[graph.nodes[-1].name]], LOGITS, axis=1)
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    classes = graph.shapes[graph.nodes[-1].name][0]
    made = helper.make_graph(
        writer.nodes,
        graph.name,
        [helper.make_tensor_value_info(IMAGES, floats, ["batch", *graph.input])],
        [helper.make_tensor_value_info(LOGITS, floats, ["batch", classes])],
        writer.constants,
    )
    opsets = [helper.make_operatorsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="coevo")
    helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class Writer:
    """Takes steps in the order they run.

    Args:
        module: Holds their weights.
        graph: Says their shapes.

    Attributes:
        nodes: Written so far.
        constants: The weights.
        values: Name of each step's output in the model.
    """

    def __init__(self, module: nn.Module, graph: Graph) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.values = {INPUT: IMAGES}
        self._sequences = {INPUT: False}
        self._shapes = dict(graph.shapes)
        self._module = module

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Appends a node with one output, of the same name, and returns that."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any] | Tensor) -> str:
        """Appends a constant and returns its name."""
        from onnx import numpy_helper

        array = np.array(value) if isinstance(value, np.ndarray | np.generic) else value.detach().cpu().numpy()
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def sizes(self, name: str, *sizes: int) -> str:
        """Appends sizes, or axes, as a constant and returns its name."""
        return self.constant(name, np.array(sizes, dtype=np.int64))

    def take(self, step: Node | Stored) -> None:
        """Appends a step's nodes."""
        given = [self.values[source] for source in step.sources]
        source = step.sources[0]
        of_tokens = self._sequences[source]
        self._sequences[step.name] = is_sequence(step, of_tokens)
        if isinstance(step, Stored):  # has the shape of what it stores
            self._shapes[step.name] = self._shapes[source]
        part = self._module.get_submodule(step.name)
        write = self._sequence if isinstance(step, SequenceNode) or of_tokens else self._map
        self.values[step.name] = write(step, given, part)

    def _map(self, step: Node | Stored, given: list[str], part: nn.Module) -> str:
        """Appends a step that reads maps ``(batch, channel, height, width)``."""
        match step:
            case Conv():
                return self._conv(step, given[0], part)
            case Pool():
                return self._pool(step, given[0])
            case GlobalPool():
                return self.add("GlobalAveragePool", given, step.name)
            case Norm():
                return self._activation(step.after, self._norm(step.name, given[0], part))
            case Zeros():
                return self.add("ConstantOfShape", [self.add("Shape", given, f"{step.name}.shape")], step.name)
            case _:
                return self._either(step, given, part)

    def _sequence(self, step: Node | Stored, given: list[str], part: nn.Module) -> str:  # noqa: PLR0911 - one per kind
        """Appends a step that reads or makes tokens ``(batch, token, channel)``."""
        match step:
            case Tokens():
                return onnx_sequence.tokens(self, step, given[0], part)
            case LayerNorm():
                return onnx_sequence.norm(self, step.name, given[0], part)
            case Conv():
                made = onnx_sequence.product(self, step.name, given[0], part.get_submodule("conv"))
                return self._activation(step.after, made)
            case Scores():
                return onnx_sequence.scores(self, step, given, self._shapes[step.sources[0]][0])
            case Softmax():
                return self.add("Softmax", given, step.name, axis=-1)
            case Mix():
                return onnx_sequence.mix(self, step, given, self._shapes[step.sources[0]][0])
            case GlobalPool():
                return onnx_sequence.mean(self, step.name, given[0])
            case FirstToken():
                return onnx_sequence.first(self, step.name, given[0])
            case _:
                return self._either(step, given, part)

    def _either(self, step: Node | Stored, given: list[str], part: nn.Module) -> str:
        """Appends a step that does the same to both."""
        match step:
            case Linear():
                return self._linear(step, given[0], part)
            case Add():
                return self._sum(step.name, given)
            case Stored():
                return self._stored(step.name, given[0], cast("ActivationGrid", part))
        raise ValueError(f"node {step.name}: {type(step).__name__} has no form in ONNX here")

    def _conv(self, step: Conv, given: str, part: nn.Module) -> str:
        given = self._shuffled(step, self._activation(step.before, given, f"{step.name}.before"))
        conv = part.get_submodule("conv")
        made = self.add(
            "Conv",
            [given, *self.weights(f"{step.name}.conv", conv)],
            step.name,
            kernel_shape=[step.kernel] * 2,
            strides=[step.stride] * 2,
            pads=[step.padding] * 4,
            dilations=[step.dilation] * 2,
            group=step.groups,
        )
        if step.affine == "norm":
            made = self._norm(f"{step.name}.norm", made, part)
        return self._activation(step.after, made)

    def _shuffled(self, step: Conv, given: str) -> str:
        """Puts the channels in the order in which a convolution reads them."""
        if step.shuffle == 1:
            return given
        channels, height, width = self._shapes[step.source]
        groups = (step.shuffle, channels // step.shuffle)
        apart = self.sizes(f"{step.name}.groups", 0, *groups, height, width)
        split = self.add("Reshape", [given, apart], f"{step.name}.split")
        turned = self.add("Transpose", [split], f"{step.name}.turned", perm=[0, 2, 1, 3, 4])
        whole = self.sizes(f"{step.name}.channels", 0, channels, height, width)
        return self.add("Reshape", [turned, whole], f"{step.name}.shuffled")

    def _linear(self, step: Linear, given: str, part: nn.Module) -> str:
        flat = self.add("Flatten", [given], f"{step.name}.flat", axis=1)
        weights = self.weights(step.name, part.get_submodule("1"))
        product = self.add("Gemm", [flat, *weights], f"{step.name}.product", transB=1)
        axes = self.constant(f"{step.name}.axes", np.array([2, 3], dtype=np.int64))
        return self.add("Unsqueeze", [product, axes], step.name)

    def _pool(self, step: Pool, given: str) -> str:
        window = {"kernel_shape": [step.kernel] * 2, "strides": [step.stride] * 2, "pads": [step.padding] * 4}
        if step.mode == "max":
            return self.add("MaxPool", [given], step.name, **window)
        return self.add("AveragePool", [given], step.name, count_include_pad=0, **window)

    def _sum(self, name: str, given: Sequence[str]) -> str:
        *first, last = given
        left = first[0] if len(first) == 1 else self._sum(f"{name}.{len(first)}", first)
        return self.add("Add", [left, last], name)

    def _norm(self, name: str, given: str, part: nn.Module) -> str:
        """A batch norm in evaluation; ``part`` holds it as ``norm``."""
        norm = cast("nn.BatchNorm2d", part.get_submodule("norm"))
        tensors = ("weight", "bias", "running_mean", "running_var")
        own = [self.constant(f"{name}.{tensor}", getattr(norm, tensor)) for tensor in tensors]
        return self.add("BatchNormalization", [given, *own], name, epsilon=norm.eps)

    def _activation(self, kind: Activation | None, given: str, name: str = "") -> str:
        name = name or f"{given}.after"
        if kind is None:
            return given
        if kind in ("relu", "gelu"):
            return self.add(kind.capitalize(), [given], name)
        low, high = (self.constant(f"{name}.{x}", np.array(x, dtype=np.float32)) for x in (0, 6))
        return self.add("Clip", [given, low, high], name)

    def weights(self, name: str, part: nn.Module, transposed: bool = False) -> list[str]:
        """Appends weight and bias of a layer, and returns their names.

        Rounded weights are integers, which a DequantizeLinear turns into numbers.

        Args:
            name: Of the layer.
            part: The layer.
            transposed: Whether as a matrix (input, output).
        """
        weight = cast("Tensor", part.weight)
        if isinstance(part, QuantisedConv2d | QuantisedLinear):
            integers, scale = part.grid.integers(weight)
            kind = np.int8 if part.grid.most < 2**7 else np.int16
            shown = integers.flatten(1).T if transposed else integers
            stored = self.constant(f"{name}.weight.integers", shown.cpu().numpy().astype(kind))
            step = self.constant(f"{name}.weight.step", scale)
            names = [self.add("DequantizeLinear", [stored, step], f"{name}.weight", axis=int(transposed))]
        else:
            names = [self.constant(f"{name}.weight", weight.flatten(1).T if transposed else weight)]
        bias = cast("Tensor | None", part.bias)
        return names if bias is None else [*names, self.constant(f"{name}.bias", bias)]

    def _stored(self, name: str, given: str, grid: ActivationGrid) -> str:
        scale, zero = (tensor.detach().cpu().numpy() for tensor in grid.grid())
        kind = np.uint8 if grid.most < 2**8 else np.uint16
        if grid.most < np.iinfo(kind).max:
            low = self.constant(f"{name}.low", scale * np.float32(0 - zero))
            high = self.constant(f"{name}.high", scale * np.float32(grid.most - zero))
            given = self.add("Clip", [given, low, high], f"{name}.clipped")
        own = [self.constant(f"{name}.step", scale), self.constant(f"{name}.zero", zero.astype(kind))]
        integers = self.add("QuantizeLinear", [given, *own], f"{name}.integers")
        return self.add("DequantizeLinear", [integers, *own], name)
