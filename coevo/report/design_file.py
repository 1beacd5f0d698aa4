"""Reads what `coevo.report.export` wrote: a co-design that can be scored again, without its experiment."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coevo.accelerator.check import machine_flaw
from coevo.accelerator.machine import Accelerator
from coevo.errors import SpecError
from coevo.library import Document, read_yaml
from coevo.mapping import Mapping
from coevo.workload import Layer, Workload


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Network(_Strict):
    family: str
    choices: dict[str, Any]


class _Accelerator(_Strict):
    template: str
    choices: dict[str, Any]
    machine: Accelerator


class _File(_Strict):
    schema_: Annotated[int, Field(alias="schema")]
    kind: Literal["design"]
    id: str
    experiment: str
    network: _Network
    accelerator: _Accelerator
    metrics: dict[str, float]
    layers: Annotated[list[Layer], Field(min_length=1)]
    mappings: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class DesignFile:
    """A co-design from a file.

    Attributes:
        id: Of the design.
        workload: Its layers.
        accelerator: The machine.
        mappings: By layer name.
        metrics: What the run found, by column.
    """

    id: str
    workload: Workload
    accelerator: Accelerator
    mappings: MappingABC[str, Mapping]
    metrics: MappingABC[str, float]


def read_design(path: Path) -> DesignFile:
    """Reads a design file strictly.

    Raises:
        SpecError: It is not one, or was changed into one that makes no sense; the text names line and field.
    """
    document = read_yaml(path)
    if document.data.get("schema") != 1:
        raise document.error(("schema",), f"{document.data.get('schema')!r} is not known; this coevo reads schema 1")
    try:
        file = document.parse(_File)
    except (ValidationError, ValueError) as error:
        raise SpecError(str(error), file=document.file) from None
    machine = replace(file.accelerator.machine, choices=tuple(file.accelerator.choices.items()))
    _check_machine(document, machine)
    mappings = {name: _mapping(document, name, levels) for name, levels in file.mappings.items()}
    for i, layer in enumerate(file.layers):
        if layer.name not in mappings:
            raise document.error(("layers", i), f"the layer {layer.name!r} has no mapping; add it under `mappings`")
    return DesignFile(file.id, Workload(file.id, tuple(file.layers)), machine, mappings, file.metrics)


def _mapping(document: Document, name: str, levels: list[dict[str, Any]]) -> Mapping:
    try:
        return Mapping.from_data(levels)
    except ValueError as error:
        raise document.error(("mappings", name), str(error)) from None


def _check_machine(document: Document, machine: Accelerator) -> None:
    """Refuses what no machine has; templates are checked far more closely."""
    flaw = machine_flaw(machine)
    if flaw is not None:
        path, problem = flaw
        raise document.error(("accelerator", "machine", *path), problem)
