"""Turns a `TensorGraph` into the `Workload` that the cost model reads: what costs, what is fused, what is free.

- What depends on no input (weights that are computed from others, shapes) is known before the network runs: free.
- An elementwise operator of one activation (activation function, scaling, bias) is applied as the words are made, by
  the layer that computes them, as accelerators do: a convolution, a product, but also a sum, a norm or a pooling. It
  is a pass of its own (``activation``) where nothing computes the words (an input, a concatenation), or where the
  words before it are needed as well. Several in a row are one (GELU written with erf is), if they read nothing else.
- A batch norm is folded into the convolution or linear layer before it, else it is a pass.
- Views and parts are free: no word changes its place, the reader takes what it needs where it is.
- A permutation is free if all its readers are convolutions and products, whose loops read in any order, or if it is the
  only reader of one, which writes in any order; else every word moves. Padding likewise before windows.
- Concatenation, look-ups, resizing move every word of their result.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from coevo.networks.importing import nests
from coevo.networks.importing.operators import (
    BatchNorm,
    Constant,
    Contraction,
    Convolution,
    Elementwise,
    Ignored,
    Move,
    Operator,
    Padding,
    Part,
    Passes,
    Permutation,
    Pooling,
    Reduction,
    TensorGraph,
    View,
    as_text,
)
from coevo.workload import Layer, LayerKind, Workload


def lower(graph: TensorGraph) -> Workload:
    """Returns the layers of a network in the order they run."""
    walk = _Walk(graph)
    for step, operator in enumerate(graph.operators):
        walk.take(step, operator)
    layers = tuple(walk.layers())
    return Workload(graph.name, layers, after=walk.after())


@dataclass(frozen=True)
class _Value:
    """Where a tensor's words stand: what is written (`_Written`), after which of its operators, in which order."""

    written: int
    stage: int = 0
    order: object = ()


@dataclass
class _Written:
    """Words that a layer writes, and the elementwise operators that may be applied on the way.

    Attributes:
        words: How many.
        layer: Index of the layer that computes them; None if nothing does (an input, words that were only moved).
        stages: (step, operator) of each elementwise operator, in the order they run; stage 0 are the words as computed.
        read: Stages that someone reads as a whole.
        taken: Stages that someone reads a part of.
        parameters: Of the elementwise operators.
        whole: What this is a part of, if it is.
        makers: Indices of all layers that the words wait for, those that only move them too.
        origins: What the words are taken from, where no layer makes them.
    """

    words: int
    layer: int | None = None
    stages: list[tuple[int, Operator]] = field(default_factory=list)
    read: set[int] = field(default_factory=set)
    taken: set[int] = field(default_factory=set)
    parameters: int = 0
    whole: _Value | None = None
    makers: tuple[int, ...] = ()
    origins: tuple[_Value, ...] = ()


class _Walk:
    """Takes operators in the order they run."""

    def __init__(self, graph: TensorGraph) -> None:
        self._graph = graph
        self._shapes = graph.shapes
        self._constants: dict[str, frozenset[str]] = {name: frozenset(own) for name, own in graph.parameters.items()}
        self._counts = {name: count for own in graph.parameters.values() for name, count in own.items()}
        self._claimed: set[str] = set()
        self._values: dict[str, _Value] = {}
        self._written: list[_Written] = []
        self._layers: list[tuple[int, Layer]] = []
        self._sources: dict[int, int] = {}  # what is written that a layer reads, if that is all it reads
        self._inputs: dict[int, tuple[_Value, ...]] = {}  # all that a layer reads
        self._passes: dict[tuple[int, int], int] = {}  # the pass that makes a stage of what is written
        self._readings: Counter[int] = Counter()  # who reads what is written
        self._readers = _readers(graph)
        self._makers = {name: operator for operator in graph.operators for name in operator.outputs}
        for operator in graph.operators:
            if isinstance(operator.action, Constant) or not self._active(operator):
                self._fold(operator)

    def take(self, step: int, operator: Operator) -> None:
        """Takes in one operator."""
        action = operator.action
        if all(name in self._constants for name in operator.outputs):
            return
        if isinstance(action, View):
            self._values[operator.outputs[0]] = self._value(self._active(operator)[0])
        elif isinstance(action, Permutation) and self._free(operator):
            value = self._value(self._active(operator)[0])
            order = (action.order, value.order) if action.order else operator
            self._values[operator.outputs[0]] = replace(value, order=order)
        elif isinstance(action, Part) or (isinstance(action, Padding) and self._free(operator)):
            self._part(operator)
        elif isinstance(action, Elementwise | BatchNorm) and self._fuses(operator):
            self._stage(step, operator)
        else:
            self._compute(step, operator)

    def layers(self) -> Iterator[Layer]:
        """Yields the layers, under different names."""
        for name in self._graph.outputs:
            self._read(name)
        for i in reversed(range(len(self._written))):  # parts before what they are a part of
            self._finish(i)
        taken: set[str] = set()
        order = self._order()
        for before, i in zip([-1, *order], order, strict=False):
            layer = replace(self._layers[i][1], follows=self._follows(before, i))
            name, count = layer.name, 1
            while name in taken:
                count += 1
                name = f"{layer.name}_{count}"
            taken.add(name)
            yield replace(layer, name=name)

    def after(self) -> tuple[tuple[int, ...], ...]:
        """Returns the places of the layers that each of `layers` reads, once all of them were yielded."""
        order = self._order()
        places = {layer: place for place, layer in enumerate(order)}
        read = ({maker for value in self._inputs[i] for maker in self._makers_of(value)} for i in order)
        return tuple(tuple(sorted(places[maker] for maker in makers)) for makers in read)

    def _order(self) -> list[int]:
        """Indices of the layers in the order they run."""
        return sorted(range(len(self._layers)), key=lambda i: self._layers[i][0])

    def _makers_of(self, value: _Value) -> frozenset[int]:
        """The layers that a value's words wait for."""
        written = self._written[value.written]
        if (value.written, value.stage) in self._passes:
            return frozenset({self._passes[value.written, value.stage]})
        sources = written.origins if written.whole is None else (written.whole,)
        return frozenset(written.makers).union(*map(self._makers_of, sources))

    def _follows(self, before: int, layer: int) -> bool:
        """Whether a layer reads what the one before it computes, and nothing else, and nobody else does."""
        source = self._sources.get(layer)
        if source is None or self._readings[source] != 1:
            return False
        written = self._written[source]
        return written.layer == before and written.whole is None and len(written.read | written.taken) == 1

    # -- what a tensor is --------------------------------------------------------------------------------------

    def _active(self, operator: Operator) -> list[str]:
        """Inputs that depend on the network's input."""
        return [name for name in operator.inputs if name not in self._constants]

    def _value(self, name: str) -> _Value:
        if name not in self._values:  # the network's input
            self._values[name] = self._new(name, None)
        return self._values[name]

    def _new(self, name: str, layer: int | None) -> _Value:
        words = math.prod(self._shapes[name])
        if words < 1:
            raise ValueError(f"tensor {name!r} is empty ({as_text(self._shapes[name])}); take a larger input")
        self._written.append(_Written(words, layer))
        return _Value(len(self._written) - 1)

    def _read(self, name: str) -> None:
        if name not in self._constants:
            value = self._value(name)
            self._written[value.written].read.add(value.stage)
            self._readings[value.written] += 1

    def _fold(self, operator: Operator) -> None:
        """Outputs that are known before the network runs; their parameters are still to be counted."""
        free = isinstance(operator.action, Constant)
        leaves = [] if free else [self._constants[name] for name in operator.inputs]
        for name in operator.outputs:
            self._constants[name] = frozenset().union(*leaves)

    def _claim(self, operator: Operator) -> int:
        """Parameters among the inputs that no layer before has counted."""
        leaves = frozenset().union(*(self._constants.get(name, frozenset()) for name in operator.inputs))
        new = leaves - self._claimed
        self._claimed |= new
        return sum(self._counts[leaf] for leaf in new)

    def _part(self, operator: Operator) -> None:
        (source, *_) = self._active(operator)
        whole = self._value(source)
        self._readings[whole.written] += 1
        for name in operator.outputs:
            self._values[name] = self._new(name, self._written[whole.written].layer)
            self._written[-1].whole = whole

    # -- elementwise operators ---------------------------------------------------------------------------------

    def _fuses(self, operator: Operator) -> bool:
        """Whether it is a function of the words of one tensor: what else it reads are few constants."""
        values = {(v.written, v.order) for v in map(self._value, self._active(operator))}
        if len(values) > 1:
            return False
        value = self._value(self._active(operator)[0])
        written = self._written[value.written]
        if isinstance(operator.action, BatchNorm):
            kind = None if written.layer is None else self._layers[written.layer][1].kind
            return value.stage == 0 and kind in ("conv", "linear")
        same = math.prod(self._shapes[operator.outputs[0]]) == written.words
        return same and not self._large(operator)

    def _large(self, operator: Operator) -> list[str]:
        """Constants that are more than a number per channel: they are read like an activation."""
        known = [name for name in operator.inputs if name in self._constants and name in self._shapes]
        return [name for name in known if sum(size > 1 for size in self._shapes[name]) > 1]

    def _stage(self, step: int, operator: Operator) -> None:
        value = self._value(self._active(operator)[0])
        written = self._written[value.written]
        written.stages.append((step, operator))
        written.parameters += self._claim(operator)
        self._values[operator.outputs[0]] = replace(value, stage=len(written.stages))

    def _finish(self, index: int) -> None:
        """Decides which stage the computing layer writes; every other that is read takes a pass of its own."""
        written = self._written[index]
        reads = written.read | written.taken
        if not reads:
            return
        whole = written.whole
        alone = whole is None or not self._written[whole.written].read
        computed = min(reads) if written.layer is not None and alone else 0
        if computed == 0 and whole is not None:
            self._written[whole.written].taken.add(whole.stage)
        for stage in sorted(reads - {computed}):
            step, operator = written.stages[stage - 1]
            kind: LayerKind = "norm" if isinstance(operator.action, BatchNorm) else "activation"
            layer = nests.mover(operator.name, kind, self._shapes[operator.outputs[0]])
            if written.layer is None:
                layer, written.parameters = replace(layer, affine=written.parameters), 0
            self._passes[index, stage] = len(self._layers)
            self._inputs[len(self._layers)] = (_Value(index, computed),)
            self._layers.append((step, layer))
        if written.layer is not None and written.parameters:
            place, layer = self._layers[written.layer]
            self._layers[written.layer] = place, replace(layer, affine=layer.affine + written.parameters)

    # -- what has a layer of its own ---------------------------------------------------------------------------

    def _compute(self, step: int, operator: Operator) -> None:
        """Layers of an operator; what they write is new, and its readers may be applied to it on the way."""
        for name in operator.inputs:
            self._read(name)
        layers = self._nests(operator)
        values = tuple(map(self._value, self._active(operator)))
        makers = tuple(range(len(self._layers), len(self._layers) + len(layers)))
        if layers:
            weights = sum(layer.words[0] for layer in layers)
            own = weights > 0 and self._own_weights(operator, weights)
            claimed = self._claim(operator)
            layers = [replace(x, tied=x.kind in ("conv", "linear") and not own) for x in layers]
            layers[0] = replace(layers[0], affine=claimed - weights if own else claimed)
            self._layers += [(step, layer) for layer in layers]
            self._inputs |= dict.fromkeys(makers, values)
            sources = {value.written for value in values}
            beside = isinstance(operator.action, Elementwise) and self._large(operator)  # a constant, from DRAM
            if len(layers) == 1 and len(sources) == 1 and not beside:
                self._sources[len(self._layers) - 1] = sources.pop()
        computes = layers and not isinstance(operator.action, Move | Permutation | Padding)
        for i, name in enumerate(operator.outputs):
            if i == 0 or self._readers[name]:  # a batch norm's further outputs are empty
                self._values[name] = self._new(name, makers[0] if computes else None)
                self._written[-1].makers = makers
                self._written[-1].origins = () if makers else values

    def _own_weights(self, operator: Operator, weights: int) -> bool:
        """Whether the weights are one parameter, word for word, that no layer before has counted."""
        first, second = operator.inputs[:2]
        leaves = self._constants.get(second, self._constants.get(first, frozenset()))
        return len(leaves) == 1 and not leaves & self._claimed and self._counts[next(iter(leaves))] == weights

    def _nests(self, operator: Operator) -> list[Layer]:  # noqa: PLR0911 - one per kind of action
        name, shape = operator.name, self._shapes[operator.outputs[0]]
        given = self._shapes[self._active(operator)[0]]
        match operator.action:
            case Ignored():
                return []
            case Convolution() as action:
                shapes = (self._shapes[operator.inputs[0]], self._shapes[operator.inputs[1]], shape)
                return nests.convolution(name, action, shapes)
            case Contraction() as action:
                return [self._contraction(operator, action)]
            case Pooling() as action:
                return [nests.pooling(name, action, shape)]
            case Reduction():
                return [nests.reduction(name, given, shape)]
            case Passes() as action:
                return [nests.mover(name, action.kind, shape, action.passes)]
            case BatchNorm():
                return [nests.mover(name, "norm", shape)]
            case Elementwise() as action:
                operands = len({self._value(x) for x in self._active(operator)}) + len(self._large(operator))
                return [nests.mover(name, action.kind if operands > 1 else "activation", shape, operands)]
            case _:
                return [nests.mover(name, "move", shape)]

    def _contraction(self, operator: Operator, action: Contraction) -> Layer:
        first, second = operator.inputs[:2]
        rows, columns = action.rows, action.columns
        if first in self._constants:  # the transposed product: weights are the operand that is known
            rows, columns = columns, rows
        kind: LayerKind = "linear" if first in self._constants or second in self._constants else "matmul"
        return Layer(operator.name, kind, g=action.batch, m=columns, c=action.inner, p=rows)

    # -- permutations and padding that neighbours absorb -------------------------------------------------------

    def _free(self, operator: Operator) -> bool:
        if isinstance(operator.action, Padding):
            return self._all_read_by(operator.outputs[0], (Convolution, Pooling))
        readers = self._all_read_by(operator.outputs[0], (Convolution, Contraction))
        return readers or self._only_reader(self._active(operator)[0])

    def _all_read_by(self, name: str, kinds: tuple[type, ...]) -> bool:
        """Whether only such operators read a tensor, through whatever costs nothing."""
        waiting = [name]
        while waiting:
            name = waiting.pop()
            readers = [reader for reader in self._readers[name] if not isinstance(reader.action, kinds)]
            if name in self._graph.outputs or not self._readers[name]:
                return False
            for reader in readers:
                fused = isinstance(reader.action, Elementwise) and len(self._active(reader)) == 1
                if not (fused or isinstance(reader.action, View | Part | Permutation)):
                    return False
                waiting += reader.outputs
        return True

    def _only_reader(self, name: str) -> bool:
        """Whether a convolution or product makes a tensor and nothing else reads it on the way."""
        while len(self._readers[name]) == 1 and name not in self._graph.outputs and name in self._makers:
            maker = self._makers[name]
            if isinstance(maker.action, Convolution | Contraction):
                return True
            if not isinstance(maker.action, View | Permutation | Elementwise | BatchNorm):
                return False
            active = self._active(maker)
            if len(active) != 1:
                return False
            name = active[0]
        return False


def _readers(graph: TensorGraph) -> dict[str, list[Operator]]:
    """Who reads the words of each tensor; to know its shape is not to read it."""
    readers: dict[str, list[Operator]] = defaultdict(list)
    for operator in graph.operators:
        if isinstance(operator.action, Constant):
            continue
        for name in dict.fromkeys(operator.inputs):
            readers[name].append(operator)
    return readers
