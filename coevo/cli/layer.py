"""A layer on the command line: ``m=64 c=64 p=56 q=56 r=3 s=3 stride=1``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from coevo.errors import SpecError, near
from coevo.workload import DIMS, Layer, LayerKind

OPTION = "--layer"
KEYS = (*DIMS, "stride", "dilation", "kind", "bits", "name")

_ELSEWHERE = {"k": "m", "b": "n", "oy": "p", "ox": "q", "fy": "r", "fx": "s"}
"""Names that other tools (ZigZag, MAESTRO) have for dims."""

_MOST_OPERATIONS = 2**53
"""Counts are floats: beyond this, they are not exact."""

_WIDEST_WORD = 64


def read_layers(texts: Sequence[str]) -> tuple[Layer, ...]:
    """Reads layers, each named by its ``name=`` or, in order, ``layer`` or ``layer1``, ``layer2``, ...

    Raises:
        SpecError: A key is unknown or stands twice, a value is not of its form, or two layers have one name.
    """
    layers = [read_layer(text, f"layer{i + 1}" if len(texts) > 1 else "layer") for i, text in enumerate(texts)]
    names = [layer.name for layer in layers]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"two layers are named {name!r}; name= tells them apart", field=OPTION)
    return tuple(layers)


def read_layer(text: str, name: str) -> Layer:
    """Reads one layer: ``key=value`` separated by spaces or commas.

    Keys are the dims (Timeloop's, see `coevo.workload`; in capitals too), each 1 where absent, and ``stride``,
    ``dilation`` (``2`` or height x width, ``2x1``), ``bits`` (``8`` or weights/inputs/outputs, ``8/8/32``,
    ``-`` being the machine's), ``kind`` and ``name``.

    Args:
        text: What the user wrote.
        name: The layer's name where the text gives none.

    Raises:
        SpecError: See `read_layers`.
    """
    values: dict[str, Any] = {"name": name, "kind": "conv"}
    given: set[str] = set()
    for part in text.replace(",", " ").split():
        key, equals, value = part.partition("=")
        key = key.lower()
        if not equals or not value:
            raise SpecError(f"must read like 'm=64 c=64 p=56 q=56 r=3 s=3 stride=1', got {part!r}", field=OPTION)
        if key not in KEYS:
            meant = f"(here it is {_ELSEWHERE[key]!r}) " if key in _ELSEWHERE else ""
            raise SpecError(f"no such dim {meant}{near(key, KEYS)}", field=f"{OPTION} {part}")
        if key in given:
            raise SpecError(f"{key} stands twice; remove one", field=f"{OPTION} {part}")
        given.add(key)
        values[key] = _value(key, value, part)
    if not given & set(DIMS):
        raise SpecError(f"has no dims; give at least one of {' '.join(DIMS)}, got {text!r}", field=OPTION)
    layer = Layer(**values)
    if layer.operations > _MOST_OPERATIONS:
        raise SpecError(f"{layer.operations:.3g} operations are more than 2^53, beyond which counts are not exact",
                        field=OPTION)  # fmt: skip
    return layer


def _value(key: str, value: str, part: str) -> object:
    if key in ("name", "kind"):
        if key == "kind" and value not in get_args(LayerKind):
            raise SpecError(f"no such kind {near(value, get_args(LayerKind))}", field=f"{OPTION} {part}")
        return value
    if key in DIMS:
        return _whole(value, part)
    separator, length = ("/", 3) if key == "bits" else ("x", 2)
    own = key == "bits"
    numbers = [None if own and number == "-" else _whole(number, part) for number in value.split(separator)]
    if len(numbers) not in (1, length):
        form = "weights/inputs/outputs, such as 8/8/32" if own else "height x width, such as 2x1"
        raise SpecError(f"must be one number or {form}", field=f"{OPTION} {part}")
    if own and max(number or 0 for number in numbers) > _WIDEST_WORD:
        raise SpecError(f"a word has at most {_WIDEST_WORD} bits", field=f"{OPTION} {part}")
    return tuple(numbers * length if len(numbers) == 1 else numbers)


def _whole(text: str, part: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) < 1:
        raise SpecError(f"must be a whole number of at least 1, got {text!r}", field=f"{OPTION} {part}")
    return int(text)
