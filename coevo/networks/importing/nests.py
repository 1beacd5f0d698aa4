"""The loop nests of single operators, from their shapes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import product

from coevo.networks.importing.operators import Convolution, Pooling, Shape
from coevo.workload import Layer, LayerKind


def mover(name: str, kind: LayerKind, shape: Shape, operands: int = 1) -> Layer:
    """Returns a pass over data: every word of a tensor of ``shape`` is made of ``operands`` words read.

    Axis 1 are the channels (``g``), the last two height and width (``p``, ``q``), whatever else stands between
    counts with the height. A broadcast operand counts as if it were as large as the result: an upper bound.
    """
    if len(shape) < 2:
        return Layer(name, kind, g=math.prod(shape), c=operands)
    if len(shape) == 2 and shape[0] > 1:  # rows of a matrix, not a batch
        return Layer(name, kind, g=shape[1], c=operands, p=shape[0])
    n, g, *rest = shape
    q = rest[-1] if len(rest) > 1 else 1
    return Layer(name, kind, n=n, g=g, c=operands, p=math.prod(rest) // q, q=q)


def pooling(name: str, action: Pooling, made: Shape) -> Layer:
    """Returns the nest of a window over each channel.

    A third axis of the window (over frames) is a sum of ``c`` frames for each of ``n`` frames made.
    """
    axes = len(action.window)
    frames, height, width = _three(made[-axes:])
    deep, r, s = _three(action.window)
    channels = made[-axes - 1]
    batch = math.prod(made) // (channels * math.prod(made[-axes:]))
    return Layer(
        name, "pool", n=batch * frames, g=channels, c=deep, p=height, q=width, r=r, s=s,
        stride=_two(action.stride), dilation=_two(action.dilation),
    )  # fmt: skip


def reduction(name: str, given: Shape, made: Shape) -> Layer:
    """Returns the nest of a reduction over whole axes; of a map to one word per channel, a window as large as it."""
    outputs, inputs = math.prod(made), math.prod(given)
    if len(given) == 4 and outputs == given[0] * given[1]:
        return Layer(name, "pool", n=given[0], g=given[1], r=given[2], s=given[3])
    return Layer(name, "pool", g=outputs, r=max(1, inputs // outputs))


def convolution(name: str, action: Convolution, shapes: tuple[Shape, Shape, Shape]) -> list[Layer]:
    """Returns the nests of a convolution with input, filters and output of these ``shapes``.

    A third axis (frames) folds into ``c``: each frame that is made sums over the filter's frames. Multiplications,
    weights and outputs are exact; the inputs are read once for every frame made that needs them.
    """
    if action.transposed:
        return _transposed(name, action, shapes)
    given, filters, made = shapes
    axes = len(filters) - 2
    frames, p, q = _three(made[-axes:])
    deep, r, s = _three(filters[2:])
    batch = math.prod(given[: -axes - 1])
    return [
        Layer(
            name, "conv", n=batch * frames, g=action.groups, m=filters[0] // action.groups, c=filters[1] * deep,
            p=p, q=q, r=r, s=s, stride=_two(action.stride), dilation=_two(action.dilation),
        )
    ]  # fmt: skip


def _transposed(name: str, action: Convolution, shapes: tuple[Shape, Shape, Shape]) -> list[Layer]:
    """A transposed convolution as the ordinary ones that make its output's phases.

    Pixels whose positions are alike modulo the stride form a phase; only the taps that fall on inputs, not on the
    zeros between them, take part in it; phases of one shape are groups of one nest (Shi et al., "Is the deconvolution
    layer the same as a convolutional layer?", arXiv:1609.07009). A phase that no tap reaches holds the bias alone and
    is written by a pass of its own.
    """
    given, filters, made = shapes
    axes = len(filters) - 2
    batch, inputs, outputs = math.prod(given[: -axes - 1]), filters[0] // action.groups, filters[1]
    phases = [
        list(_phases(filters[2 + i], made[i - axes], action.stride[i], action.dilation[i], action.before[i]))
        for i in range(axes)
    ]
    missing = [[(1, 1, 1)]] * (3 - axes)
    depth, height, width = (*missing[:1], *phases, *missing[1:]) if axes == 1 else (*missing, *phases)
    alike = Counter(product(depth, height, width))
    layers = []
    for i, (((frames, deep, _), (p, r, down), (q, s, across)), count) in enumerate(alike.items(), 1):
        title = f"{name}.phase{i}" if len(alike) > 1 else name
        n, g = batch * frames, action.groups * count
        if deep * r * s:
            c = inputs * deep
            layers.append(Layer(title, "conv", n=n, g=g, m=outputs, c=c, p=p, q=q, r=r, s=s, dilation=(down, across)))
        else:
            layers.append(Layer(title, "move", n=n, g=g * outputs, p=p, q=q))
    return layers


def _phases(taps: int, outputs: int, stride: int, dilation: int, before: int) -> Iterator[tuple[int, int, int]]:
    """(outputs, taps, dilation of the taps on the input) of every phase of one axis that has outputs."""
    common = math.gcd(stride, dilation)
    for phase in range(stride):
        made = len(range((phase - before) % stride, outputs, stride))
        if made:
            reached = sum((tap * dilation - phase) % stride == 0 for tap in range(taps))
            yield made, reached, dilation // common


def _three(sizes: Shape) -> Shape:
    """Sizes of (frames, height, width); a single axis is the height."""
    return (1, *sizes, 1) if len(sizes) == 1 else (1,) * (3 - len(sizes)) + sizes


def _two(sizes: Shape) -> tuple[int, int]:
    """Stride or dilation of (height, width); that of the frames moves whole nests."""
    _, height, width = _three(sizes)
    return height, width
