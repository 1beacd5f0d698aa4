"""Cost models that are made of others (`coevo.sections`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, cast

from pydantic import AfterValidator

from coevo import sections
from coevo.accelerator.machine import Accelerator
from coevo.errors import SpecError
from coevo.protocols import CostContext, CostModel

Section = Annotated[dict[str, Any], AfterValidator(partial(sections.complete, "cost"))]
"""A model and its settings, as in the section ``cost`` of an experiment."""


def attached(section: Mapping[str, Any], context: CostContext, part: str, known: CostModel | None = None) -> CostModel:
    """Returns the model of a section, told what it may know.

    Args:
        section: Names the model.
        context: Of the model that it is part of.
        part: The field of that model's settings, for errors.
        known: The model, if it was built before.

    Raises:
        SpecError: There is no such model, or a setting is wrong.
        DataError: What it reads is absent.
    """
    model = known or cast("CostModel", sections.build("cost", section, context.near_file))
    attach = getattr(model, "attach", None)
    if attach is not None:
        try:
            attach(context)
        except SpecError as error:
            raise SpecError(f"{part}: {error.problem}", file=error.file, line=error.line, field=error.field) from None
    return model


def refuse(model: CostModel | None, machine: Accelerator, part: str) -> None:
    """Asks a model that another is made of to refuse a machine.

    Args:
        model: The model; None is never asked.
        machine: The machine.
        part: The field of the other model's settings, for errors.

    Raises:
        SpecError: It refuses the machine.
    """
    asked = getattr(model, "refuse", None)
    if asked is not None:
        try:
            asked(machine)
        except SpecError as error:
            field = ".".join(filter(None, (part, error.field)))
            raise SpecError(error.problem, file=error.file, line=error.line, field=field) from None
