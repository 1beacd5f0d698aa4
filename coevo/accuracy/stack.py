"""Accuracy models that are made of others: a section of a section, ``of: {name: train, epochs: 2}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationError

from coevo.design import digest
from coevo.errors import SpecError
from coevo.library import find_plugin
from coevo.protocols import AccuracyModel


def _complete(section: dict[str, Any]) -> dict[str, Any]:
    """Checks a section of a model that ships with coevo and spells its defaults out; others are checked when built."""
    name = section.get("name")
    if not isinstance(name, str):
        raise ValueError("needs a name: an accuracy model such as train")
    if ".py:" in name:
        return section
    own = {key: value for key, value in section.items() if key != "name"}
    try:
        settings = find_plugin("accuracy", name).Settings.model_validate(own)
    except SpecError as error:
        raise ValueError(error.problem) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {first.get('input')!r}") from None
    return {"name": name, **settings.model_dump(mode="json")}


Section = Annotated[dict[str, Any], AfterValidator(_complete)]
"""A model and its settings, as in the section ``accuracy`` of an experiment."""


def build(section: Mapping[str, Any], near_file: str = "") -> AccuracyModel:
    """Returns the model of a section.

    Raises:
        SpecError: There is no such model, or a setting is wrong.
    """
    plugin = find_plugin("accuracy", section["name"], near_file)
    own = {key: value for key, value in section.items() if key != "name"}
    try:
        model: AccuracyModel = plugin(plugin.Settings.model_validate(own), near_file)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise SpecError(f"{section['name']}: {field}: {first['msg']}", file=near_file, field="accuracy") from None
    return model


def memory_key(section: Mapping[str, Any], network_key: str, seed: int) -> str:
    """Returns the key under which a model's result for a network is remembered within a run."""
    return digest([dict(section), network_key, seed])


def close(model: AccuracyModel) -> None:
    """Ends a model's processes, if it has any."""
    end = getattr(model, "close", None)
    if end is not None:
        end()
