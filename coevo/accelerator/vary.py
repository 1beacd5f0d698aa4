"""What may vary in a template: which fields there are, and which values a rule in YAML stands for.

vary:
  pe_array.rows: {from: 4, to: 32, step: 4}               # 4, 8, ..., 32
  memories.glb.size_kib: {from: 32, to: 1024, times: 2}   # 32, 64, ..., 1024
  dataflow: {any_of: [weight_stationary, row_stationary]}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from coevo.errors import near
from coevo.library import FieldPath
from coevo.workload import OPERANDS

if TYPE_CHECKING:
    from pydantic import BaseModel

    from coevo.accelerator.schema import MachineSpec

MAX_CHOICES = 10_000
MAX_NUMBER = 1e15

_FIXED = ("name", "holds", "loops", "fanout")
"""Fields of a memory that no one value sets."""

_FORMS = ({"from", "to", "step"}, {"from", "to", "times"}, {"any_of"})
_HOW = "one of {from: 4, to: 32, step: 4}, {from: 32, to: 1024, times: 2}, {any_of: [...]}"


@dataclass(frozen=True)
class VaryField:
    """A field of a template that may vary.

    Attributes:
        path: Dotted, memories by name, e.g. ``memories.glb.size_kib``.
        choices: Its values, all different, at least one.
        ordered: Whether neighbouring choices are alike: numbers that rise.
    """

    path: str
    choices: tuple[Any, ...]
    ordered: bool


class RuleError(ValueError):
    """A rule is wrong; ``key`` is the rule's key that is to blame, None for the rule as a whole."""

    def __init__(self, problem: str, key: str | None = None) -> None:
        self.key = key
        super().__init__(problem)


def expand(path: str, rule: object) -> VaryField:
    """Returns the field that a rule in YAML stands for.

    Raises:
        RuleError: The rule has unknown keys, is none of the three forms, is empty, or never ends.
    """
    if not isinstance(rule, Mapping):
        raise RuleError(f"must be {_HOW}, got {rule!r}")
    for key in rule:
        if key not in {"from", "to", "step", "times", "any_of"}:
            raise RuleError(f"unknown key {near(str(key), ('any_of', 'from', 'step', 'times', 'to'))}", str(key))
    if set(rule) not in _FORMS:
        raise RuleError(f"must be {_HOW}, got the keys {', '.join(sorted(rule)) or 'none'}")
    choices = _listed(rule["any_of"]) if "any_of" in rule else _range(rule)
    numbers = all(isinstance(c, int | float) and not isinstance(c, bool) for c in choices)
    rising = numbers and all(a < b for a, b in pairwise(choices))
    return VaryField(path, choices, rising)


def _listed(values: object) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple) or not values:
        raise RuleError(f"must be a list of at least one value, got {values!r}", "any_of")
    if len(values) > MAX_CHOICES:
        raise RuleError(f"{len(values)} choices are more than {MAX_CHOICES}", "any_of")
    for i, value in enumerate(values):
        if not isinstance(value, str | int | float):
            raise RuleError(f"a value must be a number or a name, got {value!r}", "any_of")
        if value in values[:i]:
            raise RuleError(f"{value!r} stands twice; remove one", "any_of")
    return tuple(values)


def _range(rule: Mapping[str, object]) -> tuple[float, ...]:
    numbers = {key: _number(key, value) for key, value in rule.items()}
    first, last = numbers["from"], numbers["to"]
    if first > last:
        raise RuleError(f"{first} is greater than `to`, {last}; swap them", "from")
    if "step" in numbers:
        step = numbers["step"]
        if step <= 0:
            raise RuleError(f"{step} must be greater than 0", "step")
        return _clean((last - first) / step, "step", lambda i: first + i * step)
    times = numbers["times"]
    if times <= 1:
        raise RuleError(f"{times} must be greater than 1", "times")
    if first <= 0:
        raise RuleError(f"{first} must be greater than 0 to be multiplied", "from")
    return _clean((math.log(last) - math.log(first)) / math.log(times), "times", lambda i: first * times**i)


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise RuleError(f"must be a plain number, got {value!r}; the unit stands in the field's name", key)
    return value


def _clean(steps: float, key: str, value: Callable[[int], float]) -> tuple[float, ...]:
    """The values of a range without the noise of floating point; whole numbers stay whole."""
    if steps >= MAX_CHOICES:
        raise RuleError(f"{steps + 1:.0f} choices are more than {MAX_CHOICES}; make it larger", key)
    values = [value(i) for i in range(math.floor(steps + 1e-9) + 1)]
    return tuple(v if isinstance(v, int) else float(f"{v:.12g}") for v in values)


def variable_fields(spec: MachineSpec) -> dict[str, FieldPath]:
    """Returns the fields that may vary: dotted path, memories by name, to the path in the file's data."""
    from coevo.accelerator.schema import SIZES, Fanout, MacSpec, MemorySpec, PeArray

    paths: list[FieldPath] = [
        (name,) for name in ("technology_nm", "clock_mhz", "sram_cell", "other_area_mm2", "device")
    ]
    paths += [("dataflow",), ("word_bits",)]
    paths += [("word_bits", operand) for operand in OPERANDS]
    paths += [("mac", name) for name in MacSpec.model_fields]
    if spec.pe_array is not None:
        paths += [("pe_array", *end) for end in _ends(PeArray)]
    fields = {".".join(map(str, path)): path for path in paths}
    for i, memory in enumerate(spec.memories):
        sized = any(getattr(memory, name) is not None for name in SIZES)
        for name in MemorySpec.model_fields:
            absent_size = name in SIZES and sized and getattr(memory, name) is None
            if name not in _FIXED and not absent_size:
                fields[f"memories.{memory.name}.{name}"] = ("memories", i, name)
        for end in _ends(Fanout):
            fields[".".join(("memories", memory.name, "fanout", *end))] = ("memories", i, "fanout", *end)
    return fields


def _ends(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Names of a fan-out's fields, and for its buses those of the operands."""
    for name in model.model_fields:
        if name == "bus_words_per_cycle":
            yield from ((name, operand) for operand in OPERANDS)
        else:
            yield (name,)


def unknown_field(path: str, fields: Mapping[str, FieldPath]) -> str:
    """Returns why a dotted path names no field, with the near ones."""
    room, _, rest = path.partition(".")
    if room == "memories" and rest:
        memories = {field.split(".")[1] for field in fields if field.startswith("memories.")}
        memory = rest.split(".")[0]
        if memory not in memories:
            return f"there is no memory {memory!r} {near(memory, memories)}"
        room = f"memories.{memory}"
    inside = [field for field in fields if field.startswith(f"{room}.")]
    outside = {field if "." not in field else f"{field.split('.')[0]}. ..." for field in fields}
    return f"there is no such field {near(path, inside or outside)}"


def assigned(data: Any, path: FieldPath, value: object) -> Any:
    """Returns plain data with one field set; what lies on the way is copied, or made where it is absent."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(data, list):
        return [assigned(item, rest, value) if i == step else item for i, item in enumerate(data)]
    if isinstance(data, int):  # `word_bits: 8` is short for all three
        data = dict.fromkeys(("weights", "inputs", "outputs"), data)
    inner = {} if data is None else dict(data)
    inner[str(step)] = assigned(inner.get(str(step)), rest, value)
    return inner
