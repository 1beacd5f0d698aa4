"""What is computed: a `Workload` is a sequence of `Layer`s, each a loop nest with named bounds.

The names are Timeloop's, with groups as a loop of their own:

    n batch | g groups | m output channels of a group | c input channels of a group
    p, q output height and width | r, s filter height and width

`p` pairs with `r`, `stride[0]` and `dilation[0]` (the height), `q` with `s` and the second of each (the width).
A depthwise convolution has ``m = c = 1`` and ``g`` channels; a matrix product has ``q = r = s = 1``. In a product
of two activations (attention) the second operand takes the place of the weights: ``p`` rows of the first, ``c`` their
length, ``m`` columns of the second, ``g`` products (heads x batch); in QK^T the keys are the weights, in PV the values.

What has no weights is a loop nest too, grouped, and is paid like any other in cycles, energy and accesses:

    pool                    a window over r x s in each of g channels; a reduction over an axis is one too
    add, elementwise        c = k operands, word by word (each is an input channel of its group)
    norm, softmax           c passes over the data, see `PASSES`
    activation              c = 1: a pass over a map whose producer could not apply it on the way
    move                    c = 1: words that only change place (concatenation, transposition, look-up, resizing)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

DIMS = ("n", "g", "m", "c", "p", "q", "r", "s")
"""Names of the loops, in the order of every ``(dim,)`` axis."""

OPERANDS = ("weights", "inputs", "outputs")
"""Names of the operands, in the order of every ``(operand,)`` axis."""

RELEVANT: Mapping[str, frozenset[str]] = {
    "weights": frozenset("gmcrs"),
    "inputs": frozenset("ngcpqrs"),
    "outputs": frozenset("ngmpq"),
}
"""The loops that move each operand's tile."""

LayerKind = Literal["conv", "linear", "matmul", "pool", "add", "elementwise", "norm", "softmax", "activation", "move"]

MULTIPLYING: frozenset[LayerKind] = frozenset({"conv", "linear", "matmul"})
"""Kinds that multiply by a second operand, read in the place of the weights; all others are data movers."""

WordBits = tuple[int | None, int | None, int | None]
"""Bits of a word of (weights, inputs, outputs); None is the accelerator's."""

Kept = tuple[Literal["inputs", "outputs"], ...]
"""Activations that stay on chip."""

PASSES: Mapping[LayerKind, int] = {"norm": 2, "softmax": 3}
"""How often a mover reads its data before the result is complete, each time all of them.

A norm takes its statistics first (sum and sum of squares in one pass), then scales: 2. A batch norm's statistics are
known after training, so it takes 1 pass. A softmax that cannot overflow takes the maximum, then the sum of the
exponentials, then divides: 3 (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018, alg. 2).
"""


@dataclass(frozen=True)
class Layer:
    """One loop nest.

    Attributes:
        name: Unique within its workload.
        kind: ``conv``, ``linear`` (both with weights), ``matmul`` (of two activations), or a data mover: ``pool``,
            ``add``, ``elementwise``, ``norm``, ``softmax``, ``activation``, ``move``.
        n, g, m, c, p, q, r, s: Loop bounds, see the module's text; ``m`` and ``c`` are per group.
        stride: Of the window, (height, width).
        dilation: Of the window, (height, width).
        affine: Per-channel parameters that the module keeps with the layer (bias, batch-norm scale and
            shift). Deployment folds them into the weights; they count as parameters and cause no traffic.
        bits: Bits of a word of (weights, inputs, outputs); None takes the accelerator's, for all or for one.
        follows: Whether its inputs are what the layer before it writes, which nothing else reads.
        kept: Which of ``inputs`` and ``outputs`` stay on chip from and to its neighbours (`coevo.cost.kept`).
    """

    name: str
    kind: LayerKind
    n: int = 1
    g: int = 1
    m: int = 1
    c: int = 1
    p: int = 1
    q: int = 1
    r: int = 1
    s: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    affine: int = 0
    tied: bool = False
    bits: WordBits | None = None
    follows: bool = False
    kept: Kept = ()

    def __post_init__(self) -> None:
        bounds = (self.n, self.g, self.m, self.c, self.p, self.q, self.r, self.s)
        if min(*bounds, *self.stride, *self.dilation) < 1:
            raise ValueError(f"layer {self.name}: loop bounds, stride and dilation must be at least 1: {self}")
        if self.bits is not None and any(width is not None and width < 1 for width in self.bits):
            raise ValueError(f"layer {self.name}: a word must have at least 1 bit, got {self.bits}")
        if len(set(self.kept)) < len(self.kept):
            raise ValueError(f"layer {self.name}: keeps an operand twice: {', '.join(self.kept)}")

    @cached_property
    def bounds(self) -> tuple[int, ...]:
        """Loop bounds ``(dim,)``, in the order of `DIMS`."""
        return (self.n, self.g, self.m, self.c, self.p, self.q, self.r, self.s)

    @property
    def has_weights(self) -> bool:
        """Whether the layer multiplies by weights or a second operand in their place (else it only moves data)."""
        return self.kind in MULTIPLYING

    @property
    def operations(self) -> int:
        """Points of the loop nest: multiply-accumulates, or the additions/comparisons of a data mover."""
        return math.prod(self.bounds)

    @property
    def macs(self) -> int:
        """Multiply-accumulates; 0 for a data mover."""
        return self.operations if self.has_weights else 0

    @property
    def words(self) -> tuple[int, int, int]:
        """Distinct words of (weights, inputs, outputs). Inputs are the box the window sweeps, without padding."""
        weights = self.g * self.m * self.c * self.r * self.s if self.has_weights else 0
        height = (self.p - 1) * self.stride[0] + (self.r - 1) * self.dilation[0] + 1
        width = (self.q - 1) * self.stride[1] + (self.s - 1) * self.dilation[1] + 1
        return weights, self.n * self.g * self.c * height * width, self.n * self.g * self.m * self.p * self.q

    @property
    def parameters(self) -> int:
        """Trainable parameters: the weights, unless they are an activation or another layer's, and `affine`."""
        return self.affine + (0 if self.tied or self.kind == "matmul" else self.words[0])

    @cached_property
    def shape_key(self) -> tuple[object, ...]:
        """All that a cost model sees: equal keys cost the same, whatever the layers are called."""
        return (self.bounds, self.stride, self.dilation, self.has_weights, self.bits, self.kept)


@dataclass(frozen=True, eq=False)
class Source:
    """What a workload is of, for cost models that look at no layers: they run the network, or know it by its choices.

    Attributes:
        key: Stands for the network and its input, the same in every process.
        choices: The network's gene values.
        input_shape: (channels, height, width).
        module: Builds the untrained ``nn.Module``.
    """

    key: str
    choices: Mapping[str, Any]
    input_shape: tuple[int, int, int]
    module: Callable[[], Any]


@dataclass(frozen=True)
class Workload:
    """Layers in an order in which they can run; layers of equal `shape_key` may repeat.

    Attributes:
        name: For people.
        layers: The loop nests.
        source: The network that they are of; None if there is none, as with a workload from a file.
        after: By layer, the places of those before it whose outputs it reads, ascending; None: each reads the one
            before.
    """

    name: str
    layers: tuple[Layer, ...]
    source: Source | None = field(default=None, compare=False, repr=False)
    after: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        if self.after is None:
            return
        if len(self.after) != len(self.layers):
            raise ValueError(f"{self.name}: {len(self.layers)} layers, but {len(self.after)} of them read others")
        for i, places in enumerate(self.after):
            if list(places) != sorted(set(places) & set(range(i))):
                name = self.layers[i].name
                raise ValueError(f"{self.name}: layer {name} must read layers before it, each once; got {places}")

    @cached_property
    def reads(self) -> tuple[tuple[int, ...], ...]:
        """By layer, the places of the layers whose outputs it reads, ascending."""
        return chain(len(self.layers)) if self.after is None else self.after

    @cached_property
    def repeats(self) -> tuple[tuple[Layer, int], ...]:
        """The first layer of each `Layer.shape_key`, and how many have it."""
        first: dict[tuple[object, ...], Layer] = {}
        for layer in self.layers:
            first.setdefault(layer.shape_key, layer)
        counts = Counter(layer.shape_key for layer in self.layers)
        return tuple((layer, counts[key]) for key, layer in first.items())

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    @cached_property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(layer.parameters for layer in self.layers)


def chain(size: int) -> tuple[tuple[int, ...], ...]:
    """Returns what layers read of which each reads the one before."""
    return tuple((i - 1,) if i else () for i in range(size))
