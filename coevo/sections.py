"""Plug-ins that are made of others: a section of a section, ``of: {name: train, epochs: 2}``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from coevo.errors import SpecError, near
from coevo.library import find_plugin

SINGULAR = {"accuracy": "an accuracy model such as train", "cost": "a cost model such as analytical"}
"""What a section of each room names."""


def texts(data: object) -> Iterator[str]:
    """All texts in plain data: a section may name plug-ins at any depth."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping | list):
        for part in data.values() if isinstance(data, Mapping) else data:
            yield from texts(part)


def complete(kind: str, section: dict[str, Any]) -> dict[str, Any]:
    """Checks a section of a plug-in that ships with coevo and spells its defaults out; others are checked when built.

    Raises:
        ValueError: There is no such plug-in, or a setting is wrong.
    """
    name = section.get("name")
    if not isinstance(name, str):
        raise ValueError(f"needs a name: {SINGULAR[kind]}")
    if ".py:" in name:
        return section
    own = {key: value for key, value in section.items() if key != "name"}
    try:
        form = find_plugin(kind, name).Settings
        settings = form.model_validate(own)
    except SpecError as error:
        raise ValueError(error.problem) from None
    except ValidationError as error:
        raise ValueError(_first(error, form)) from None
    return {"name": name, **settings.model_dump(mode="json")}


def build(kind: str, section: Mapping[str, Any], near_file: str, *arguments: object) -> Any:
    """Returns the plug-in of a section, built with its settings and ``arguments``.

    Raises:
        SpecError: There is no such plug-in, or a setting is wrong.
    """
    plugin = find_plugin(kind, section["name"], near_file)
    own = {key: value for key, value in section.items() if key != "name"}
    try:
        return plugin(plugin.Settings.model_validate(own), *arguments)
    except ValidationError as error:
        raise SpecError(f"{section['name']}: {_first(error, plugin.Settings)}", file=near_file, field=kind) from None


def _first(error: ValidationError, form: type[BaseModel]) -> str:
    """The first mistake in one line: field, what is wrong with it, value."""
    first = error.errors()[0]
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return f"{first['loc'][0]}: unknown key {near(str(first['loc'][0]), form.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    field = ".".join(map(str, first["loc"]))
    if isinstance(first.get("input"), dict):
        return f"{field}: {message}"
    return f"{field}: {message}, got {first.get('input')!r}"
