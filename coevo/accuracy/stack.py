"""Accuracy models that are made of others (`coevo.sections`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, cast

from pydantic import AfterValidator

from coevo import sections
from coevo.design import digest
from coevo.protocols import AccuracyModel

Section = Annotated[dict[str, Any], AfterValidator(partial(sections.complete, "accuracy"))]
"""A model and its settings, as in the section ``accuracy`` of an experiment."""


def build(section: Mapping[str, Any], near_file: str = "") -> AccuracyModel:
    """Returns the model of a section.

    Raises:
        SpecError: There is no such model, or a setting is wrong.
    """
    return cast("AccuracyModel", sections.build("accuracy", section, near_file, near_file))


def memory_key(section: Mapping[str, Any], network_key: str, seed: int) -> str:
    """Returns the key under which a model's result for a network is remembered within a run."""
    return digest([dict(section), network_key, seed])


def close(model: AccuracyModel) -> None:
    """Ends a model's processes, if it has any."""
    end = getattr(model, "close", None)
    if end is not None:
        end()
