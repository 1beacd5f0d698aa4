"""What an imported network consists of, whatever file it came from: tensors and the operators between them.

The readers (`coevo.networks.importing.onnx_file`, `coevo.networks.importing.torch_module`) translate their operators
into the few classes of this page; `coevo.networks.importing.lowering` makes the `Workload` from them. So the same
network gives the same layers by either way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from coevo.errors import SpecError
from coevo.workload import LayerKind

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Convolution:
    """A window of one to three axes over its first input; the second are the filters, further ones the bias.

    Attributes:
        groups: Groups of channels.
        stride: Per axis of the window.
        dilation: Per axis of the window.
        transposed: Whether it spreads its inputs instead (filters then stand as (input, output, ...) channels).
        before: Of a transposed one, what is cut off (padding) at the begin of each axis of the output.
    """

    groups: int
    stride: Shape
    dilation: Shape
    transposed: bool = False
    before: Shape = ()


@dataclass(frozen=True)
class Contraction:
    """Sums of products of its first two inputs: ``batch`` products of (rows x inner) and (inner x columns) matrices."""

    batch: int
    rows: int
    inner: int
    columns: int


@dataclass(frozen=True)
class Pooling:
    """A window of one to three axes over each channel; a reduction of the whole map has no window of its own."""

    window: Shape
    stride: Shape
    dilation: Shape


@dataclass(frozen=True)
class Reduction:
    """One word of the output for many of the input: mean, sum, maximum over whole axes."""


@dataclass(frozen=True)
class Passes:
    """A data mover that reads its first input ``passes`` times and writes it once: norm or softmax."""

    kind: LayerKind
    passes: int


@dataclass(frozen=True)
class BatchNorm:
    """Scale and shift per channel with known statistics; folded into the convolution or linear layer before it."""


@dataclass(frozen=True)
class Elementwise:
    """Combines its inputs word by word; of one activation and constants, it is applied as the words are made."""

    kind: LayerKind = "elementwise"


@dataclass(frozen=True)
class View:
    """The same words under another shape or type: costs nothing, no word changes its place."""


@dataclass(frozen=True)
class Part:
    """Some of the words, or some of them again (slice, split, broadcast): the reader takes them where they are."""


@dataclass(frozen=True)
class Permutation:
    """The same words in another order; free only where a neighbouring loop nest can read or write in that order."""

    order: Shape = ()


@dataclass(frozen=True)
class Padding:
    """Words added around a map; free only where all readers are windows, which pad by themselves."""


@dataclass(frozen=True)
class Move:
    """Every word of the output is read once and written once (concatenation, look-up, resizing)."""


@dataclass(frozen=True)
class Constant:
    """The output depends on no input's words (shapes, ranges): known before the network runs."""


@dataclass(frozen=True)
class Ignored:
    """An operator that the user said to count as nothing."""


Action = (
    Convolution
    | Contraction
    | Pooling
    | Reduction
    | Passes
    | BatchNorm
    | Elementwise
    | View
    | Part
    | Permutation
    | Padding
    | Move
    | Constant
    | Ignored
)


@dataclass(frozen=True)
class Operator:
    """One step of the network.

    Attributes:
        name: Of its layer, as the file or module names it; need not be unique.
        action: What it does.
        inputs: Names of the tensors that it reads.
        outputs: Names of the tensors that it makes.
    """

    name: str
    action: Action
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass
class TensorGraph:
    """A network as tensors and operators in the order they run; the readers fill it.

    Attributes:
        name: Of the file or function, for people and messages.
        shapes: Of every tensor that an operator reads or makes.
        parameters: Of every tensor known before the network runs, how many trainable parameters stand in it, by the
            parameter's name; a buffer or number has none.
        outputs: Tensors that leave the network.
        operators: Each after those whose outputs it reads.
    """

    name: str
    shapes: dict[str, Shape] = field(default_factory=dict)
    parameters: dict[str, Mapping[str, int]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    operators: list[Operator] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)

    def add(self, name: str, action: Action, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        """Appends an operator."""
        operator = Operator(name, action, tuple(inputs), tuple(outputs))
        self.operators.append(operator)
        if isinstance(action, Constant) or self.known(operator.inputs):
            self._known.update(operator.outputs)

    def known(self, names: Iterable[str]) -> bool:
        """Whether none of these tensors depends on the network's input."""
        return all(name in self.parameters or name in self._known for name in names)

    def attend(self, name: str, query: str, key: str, value: str, made: str, *, mask: str | None = None) -> None:
        """Appends scaled dot-product attention (Vaswani et al., NeurIPS 2017, eq. 1): softmax(Q K^T) V.

        Two products of activations with a softmax between them; the scaling is applied as the scores are made. Shapes
        are ``(..., heads, length, width)``. With fewer heads of keys than of queries, consecutive queries share one
        (Ainslie et al., EMNLP 2023): their rows meet in one product.

        Args:
            name: Of the operator; its layers append ``.scores``, ``.softmax``, ``.values``.
            query: Tensor of the queries.
            key: Tensor of the keys.
            value: Tensor of the values.
            made: Tensor of the result.
            mask: Tensor added to the scores, if any.
        """
        queries, keys, values = self.shapes[query], self.shapes[key], self.shapes[value]
        batch = math.prod(keys[:-2])
        rows = math.prod(queries[:-1]) // batch
        scores, weights = f"{made}:scores", f"{made}:softmax"
        self.shapes[scores] = self.shapes[weights] = (*queries[:-1], keys[-2])
        self.add(f"{name}.scores", Contraction(batch, rows, queries[-1], keys[-2]), (query, key), (scores,))
        if mask is not None:
            masked = f"{made}:masked"
            self.shapes[masked] = self.shapes[scores]
            self.add(f"{name}.mask", Elementwise("add"), (scores, mask), (masked,))
            scores = masked
        self.add(f"{name}.softmax", Passes("softmax", 3), (scores,), (weights,))
        self.add(f"{name}.values", Contraction(batch, rows, keys[-2], values[-1]), (weights, value), (made,))


def product(first: Shape, second: Shape) -> Contraction:
    """Returns the contraction of a matrix product of tensors, numpy's rules: leading axes are batches and broadcast.

    A batch axis of both operands is a batch of products. One that only the first has makes more rows against the
    same second operand, one that only the second has more columns.
    """
    first = (1, *first) if len(first) == 1 else first
    second = (*second, 1) if len(second) == 1 else second
    length = max(len(first), len(second))
    left = (1,) * (length - len(first)) + first
    right = (1,) * (length - len(second)) + second
    batch, rows, columns = 1, left[-2], right[-1]
    for a, b in zip(left[:-2], right[:-2], strict=True):
        if a == b:
            batch *= a
        else:
            rows, columns = rows * a, columns * b
    return Contraction(batch, rows, left[-1], columns)


def einsum(equation: str, first: Shape, second: Shape) -> Contraction | None:
    """Returns the contraction of an Einstein sum of two operands; None if it is more than a batched matrix product."""
    left, arrow, made = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != 2 or "." in equation:
        return None
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, (first, second), strict=True):
        if len(term) != len(shape) or len(set(term)) != len(term):
            return None
        sizes |= dict(zip(term, shape, strict=True))
    a, b, out = (set(term) for term in (*terms, made))
    if (a ^ b) - out or out - (a | b):
        return None

    def size(axes: Iterable[str]) -> int:
        return math.prod(sizes[axis] for axis in axes)

    return Contraction(size(a & b & out), size((a - b) & out), size((a & b) - out), size((b - a) & out))


def not_understood(operator: str, *, file: str, node: str, why: str = "is not understood") -> SpecError:
    """Returns the error for an operator that no rule covers; it is never dropped silently."""
    return SpecError(
        f"operator {operator} {why}; write it with others, or count it as nothing with --ignore-unknown {operator}",
        file=file,
        field=node,
    )


def as_text(shape: Sequence[int]) -> str:
    """Returns e.g. ``1x3x224x224``."""
    return "x".join(map(str, shape)) or "scalar"
