"""A user's own mappings in a file: ``coevo map --mapping mine.yaml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coevo.errors import SpecError, near
from coevo.library import Document, FieldPath, parse_yaml, read_yaml
from coevo.mapping import LevelMapping
from coevo.mapping import Mapping as LoopMapping

_WRAP = "mapping"
_FORMS = "a list of levels, `mapping:` with one, `mappings:` by layer, or what `coevo map --json` printed"


def read_mappings(path: Path, known: Sequence[str], wanted: Sequence[str]) -> dict[str, LoopMapping]:
    """Reads mappings by layer.

    A file is one of: a list of levels as `coevo.mapping.Mapping.to_data` gives it, or ``mapping:`` with that list,
    both for a single layer; ``mappings:`` with a list per layer name, such as a design file; ``layers:``, each with
    ``name`` and ``mapping``, as ``coevo map --json`` prints them.

    Args:
        path: The file.
        known: Names of all layers there are.
        wanted: Names of those to be mapped; mappings of others are left out.

    Raises:
        SpecError: The file is of none of these forms, a level or loop is wrong, or it names no layer that there is.
    """
    document = _read(path)
    if _WRAP in document.data:
        if len(wanted) > 1:
            problem = f"is one mapping for {len(wanted)} layers; name one by --only, or give `mappings:` by layer"
            raise SpecError(problem, file=document.file)
        return {wanted[0]: _mapping(document, (_WRAP,), document.data[_WRAP])}
    entries = _named(document)
    for name, (place, _) in entries.items():
        if name not in known and document.data.get("kind") != "design":
            raise document.error(place, f"there is no layer {name!r} {near(name, known)}")
    return {name: _mapping(document, place, data) for name, (place, data) in entries.items() if name in wanted}


def _read(path: Path) -> Document:
    try:
        return read_yaml(path)
    except SpecError as error:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise error from None
        if "must hold a mapping" not in error.problem or not text.strip():
            raise
    # A list at the top, as `Mapping.to_data` has it: read as the value of a key, one line further down.
    inside = [line for line in text.splitlines() if line.rstrip() not in ("---", "...")]
    shift = len(text.splitlines()) - len(inside)
    try:
        document = parse_yaml("\n".join([f"{_WRAP}:", *(f" {line}" for line in inside)]), str(path))
    except SpecError as error:
        raise SpecError(error.problem, file=str(path), line=max(0, error.line - 1 + shift)) from None
    lines = {place: max(1, line - 1 + shift) for place, line in document.lines.items()}
    return Document(document.file, document.data, lines)


def _named(document: Document) -> dict[str, tuple[FieldPath, Any]]:
    """Place and data of every mapping, by layer name."""
    mappings, layers = document.data.get("mappings"), document.data.get("layers")
    if isinstance(mappings, dict):
        return {name: (("mappings", name), data) for name, data in mappings.items()}
    if not isinstance(layers, list):
        raise SpecError(f"holds no mapping; it is {_FORMS}", file=document.file)
    entries: dict[str, tuple[FieldPath, Any]] = {}
    for i, layer in enumerate(layers):
        if not isinstance(layer, dict) or not isinstance(layer.get("name"), str) or "mapping" not in layer:
            raise document.error(("layers", i), "needs `name` and `mapping`")
        entries[layer["name"]] = (("layers", i, "mapping"), layer["mapping"])
    return entries


def _mapping(document: Document, place: FieldPath, data: object) -> LoopMapping:
    if not isinstance(data, list) or not data:
        raise document.error(place, "must be a list of levels such as {memory: dram, temporal: [m=4, p=7]}")
    return LoopMapping(tuple(_level(document, (*place, i), level) for i, level in enumerate(data)))


def _level(document: Document, place: FieldPath, level: object) -> LevelMapping:
    if not isinstance(level, Mapping):
        raise document.error(place, f"must be a level such as {{memory: dram, temporal: [m=4, p=7]}}, got {level!r}")
    try:
        return LoopMapping.from_data([level]).levels[0]
    except ValueError as error:
        raise document.error(place, str(error)) from None
