"""The nodes of transformers in an ONNX model, where tokens are ``(batch, token, channel)``, as compilers expect them.

A layer norm and fully connected layers then read the last axis; heads are split off it, and the two products of
attention are MatMuls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from coevo.networks.graph import Add, Conv, GlobalPool, Linear, Node
from coevo.networks.quantised import Stored
from coevo.networks.sequence import FirstToken, LayerNorm, Mix, Scores, Tokens

if TYPE_CHECKING:
    from torch import Tensor, nn

    from coevo.networks.exporting.onnx_model import Writer


def is_sequence(step: Node | Stored, given: bool) -> bool:
    """Says whether a step's output is tokens; ``given`` says it of its first input.

    Raises:
        ValueError: It computes something with tokens that cannot be written.
    """
    if isinstance(step, Tokens | Mix):
        return True
    if not given or isinstance(step, Scores | Linear):
        return False
    pointwise = isinstance(step, Conv) and step.kernel == step.stride == step.groups == 1 and step.affine != "norm"
    if pointwise or isinstance(step, Add | Stored | LayerNorm | GlobalPool | FirstToken):
        return True
    raise ValueError(f"node {step.name}: {type(step).__name__} of tokens has no form in ONNX here")


def tokens(writer: Writer, step: Tokens, given: str, part: nn.Module) -> str:
    """Appends the nodes that make tokens of a map, and returns the name of what they give."""
    name = step.name
    flat = writer.add("Reshape", [given, writer.sizes(f"{name}.pixels", 0, 0, -1)], f"{name}.flat")
    made = writer.add("Transpose", [flat], f"{name}.transposed", perm=[0, 2, 1])
    if step.class_token:
        first = writer.constant(f"{name}.class_token", _as_rows(part.class_token))
        batch = writer.add("Shape", [given], f"{name}.batch", end=1)
        shape = writer.add("Concat", [batch, writer.sizes(f"{name}.one", 1, 1)], f"{name}.shape", axis=0)
        made = writer.add(
            "Concat", [writer.add("Expand", [first, shape], f"{name}.first"), made], f"{name}.all", axis=1
        )
    return writer.add("Add", [made, writer.constant(f"{name}.positions", _as_rows(part.positions))], name)


def norm(writer: Writer, name: str, given: str, part: nn.Module) -> str:
    """Appends a layer norm."""
    own = cast("nn.LayerNorm", part.get_submodule("norm"))
    weights = [writer.constant(f"{name}.norm.{tensor}", getattr(own, tensor)) for tensor in ("weight", "bias")]
    return writer.add("LayerNormalization", [given, *weights], name, axis=-1, epsilon=own.eps)


def product(writer: Writer, name: str, given: str, conv: nn.Module) -> str:
    """Appends what a convolution of one pixel does to every token."""
    weights, *bias = writer.weights(f"{name}.conv", conv, transposed=True)
    made = writer.add("MatMul", [given, weights], f"{name}.product" if bias else name)
    return writer.add("Add", [made, *bias], name) if bias else made


def scores(writer: Writer, step: Scores, given: list[str], channels: int) -> str:
    """Appends queries times keys, head by head; ``channels`` of both together over all heads."""
    queries = _heads(writer, f"{step.name}.queries", given[0], step.heads, [0, 2, 1, 3])
    keys = _heads(writer, f"{step.name}.keys", given[1], step.heads, [0, 2, 3, 1])
    products = writer.add("MatMul", [queries, keys], f"{step.name}.products")
    root = writer.constant(f"{step.name}.root", np.array((channels // step.heads) ** 0.5, dtype=np.float32))
    return writer.add("Div", [products, root], step.name)


def mix(writer: Writer, step: Mix, given: list[str], heads: int) -> str:
    """Appends the weighted sums of values."""
    values = _heads(writer, f"{step.name}.values", given[1], heads, [0, 2, 1, 3])
    sums = writer.add("MatMul", [given[0], values], f"{step.name}.sums")
    rows = writer.add("Transpose", [sums], f"{step.name}.rows", perm=[0, 2, 1, 3])
    return writer.add("Reshape", [rows, writer.sizes(f"{step.name}.joined", 0, 0, -1)], step.name)


def mean(writer: Writer, name: str, given: str) -> str:
    """Appends the mean of all tokens."""
    return writer.add("ReduceMean", [given, writer.sizes(f"{name}.axes", 1)], name, keepdims=1)


def first(writer: Writer, name: str, given: str) -> str:
    """Appends the choice of the first token."""
    bounds = [writer.sizes(f"{name}.{key}", value) for key, value in (("start", 0), ("end", 1), ("axis", 1))]
    return writer.add("Slice", [given, *bounds], name)


def _heads(writer: Writer, name: str, given: str, heads: int, order: list[int]) -> str:
    split = writer.add("Reshape", [given, writer.sizes(f"{name}.shape", 0, 0, heads, -1)], f"{name}.split")
    return writer.add("Transpose", [split], name, perm=order)


def _as_rows(tensor: object) -> Tensor:
    """Parameters ``(1, channel, token, 1)`` as ``(1, token, channel)``."""
    return cast("Tensor", tensor).squeeze(3).transpose(1, 2)
