"""``--set key.path=value``: fields of a file set from outside, with mistakes blamed on the override."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coevo.errors import SpecError, near
from coevo.library import Document, FieldPath, parse_yaml


@dataclass(frozen=True)
class OverriddenDocument(Document):
    """A document some fields of which were set from outside; mistakes in those name the override.

    Attributes:
        overrides: The override's text by the path it set.
    """

    overrides: Mapping[FieldPath, str]

    def error(self, path: FieldPath, problem: str) -> SpecError:
        """As `Document.error`."""
        for overridden, text in self.overrides.items():
            if path[: len(overridden)] == overridden:
                return SpecError(problem, file=f"--set {text}", field=self.dotted(path))
        return super().error(path, problem)


def override(document: Document, assignments: Sequence[str]) -> Document:
    """Returns the document with fields set, in order; a name that is no field is found by the check that follows.

    Raises:
        SpecError: An assignment is not ``key.path=value``, or a part of its path has no fields.
    """
    data: dict[str, Any] = copy.deepcopy(document.data)
    overrides: dict[FieldPath, str] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise SpecError("must read key.path=value", file=f"--set {text}")
        overrides[_assign(data, parts, _value(value, text), text)] = text
    return OverriddenDocument(document.file, data, document.lines, overrides)


def _value(value: str, text: str) -> object:
    """The value as YAML, on one line."""
    try:
        parsed = parse_yaml(f"value: {value}", "")
    except SpecError as error:
        raise SpecError(error.problem, file=f"--set {text}") from None
    if set(parsed.data) != {"value"} or "\n" in value:
        raise SpecError("the value must be one line of YAML", file=f"--set {text.splitlines()[0]}")
    return parsed.data["value"]


def _assign(data: dict[str, Any], parts: Sequence[str], value: object, text: str) -> FieldPath:
    """Sets a field in place, making sections that are not there; returns its path."""
    here: Any = data
    path: list[str | int] = []
    rest = list(parts)
    while True:
        step, rest = _step(here, rest, path, text)
        path.append(step)
        if not rest:
            here[step] = value
            return tuple(path)
        if isinstance(here, dict) and here.get(str(step)) is None:
            here[step] = {}
        here = here[step]


def _step(here: Any, parts: list[str], path: Sequence[str | int], text: str) -> tuple[str | int, list[str]]:
    """The next key or index, and what is left; a key may itself hold dots (``vary.pe_array.rows``)."""
    dotted = ".".join(map(str, path))
    if isinstance(here, list):
        if not parts[0].isdigit() or int(parts[0]) >= len(here):
            known = near(parts[0], map(str, range(len(here))))
            raise SpecError(f"no item {parts[0]!r} {known}", file=f"--set {text}", field=dotted)
        return int(parts[0]), parts[1:]
    if not isinstance(here, dict):
        raise SpecError(f"is {here!r} and has no fields; set it as a whole", file=f"--set {text}", field=dotted)
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in here:
            return ".".join(parts[:length]), parts[length:]
    return parts[0], parts[1:]
