"""Reads what `coevo.report.export` wrote: a co-design that can be scored again, without its experiment."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from coevo.accelerator.check import Flaw, machine_flaw
from coevo.accelerator.machine import Accelerator
from coevo.accelerator.system import system_flaw, system_of
from coevo.errors import SpecError, near
from coevo.library import Document, FieldPath, read_yaml
from coevo.mapping import Mapping
from coevo.workload import Layer, Workload, chain


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Network(_Strict):
    family: str
    choices: dict[str, Any]


class _System(_Strict):
    """A machine of several parts, each with the shared DRAM as its outermost memory."""

    name: str
    clock_mhz: float
    shared_area_mm2: float
    parts: Annotated[dict[str, Accelerator], Field(min_length=1)]


def _form(machine: object) -> Literal["one", "several"]:
    """Which form of a machine is meant, so that a mistake is told of that form alone."""
    return "several" if isinstance(machine, _System) or (isinstance(machine, dict) and "parts" in machine) else "one"


class _Accelerator(_Strict):
    template: str
    choices: dict[str, Any]
    machine: Annotated[Annotated[Accelerator, Tag("one")] | Annotated[_System, Tag("several")], Discriminator(_form)]


class _Mapped(_Strict):
    accelerator: _Accelerator
    layers: Annotated[list[Layer], Field(min_length=1)]
    reads: dict[str, list[str]] = Field(default={})
    mappings: dict[str, list[dict[str, Any]]]


class _Head(_Strict):
    schema_: Annotated[int, Field(alias="schema")]
    kind: Literal["design"]
    id: str
    experiment: str
    network: _Network
    metrics: dict[str, float]
    fidelity: str = ""


class _File(_Head, _Mapped):
    """A design on one machine."""


class _TargetsFile(_Head):
    """A design on several."""

    targets: Annotated[dict[str, _Mapped], Field(min_length=1)]


@dataclass(frozen=True)
class DesignFile:
    """A co-design from a file.

    Attributes:
        id: Of the design.
        workload: Its layers.
        accelerator: The machine.
        mappings: By layer name; empty if the design's cost model maps nothing.
        metrics: What the run found, by column.
    """

    id: str
    workload: Workload
    accelerator: Accelerator
    mappings: MappingABC[str, Mapping]
    metrics: MappingABC[str, float]


def read_design(path: Path, target: str | None = None) -> DesignFile:
    """Reads a design file strictly.

    Args:
        path: The file.
        target: Which of several targets is wanted; the first if None.

    Raises:
        SpecError: It is not one, or was changed into one that makes no sense; the text names line and field.
    """
    document = read_yaml(path)
    if document.data.get("schema") != 1:
        raise document.error(("schema",), f"{document.data.get('schema')!r} is not known; this coevo reads schema 1")
    try:
        head, file, place = _parsed(document, target)
    except (ValidationError, ValueError) as error:
        raise SpecError(str(error), file=document.file) from None
    machine = _checked(document, file.accelerator, (*place, "accelerator", "machine"))
    mappings = {name: _mapping(document, (*place, "mappings", name), levels) for name, levels in file.mappings.items()}
    for i, layer in enumerate(file.layers):
        if mappings and layer.name not in mappings:
            raise document.error(
                (*place, "layers", i), f"the layer {layer.name!r} has no mapping; add it under `mappings`"
            )
    workload = Workload(head.id, tuple(file.layers), after=_after(document, file, place))
    return DesignFile(head.id, workload, machine, mappings, head.metrics)


def _parsed(document: Document, target: str | None) -> tuple[_Head, _Mapped, FieldPath]:
    """The design, what it is on the wanted machine, and where that stands in the file."""
    if "targets" not in document.data:
        if target is not None:
            problem = f"there is no target {target!r}: the design is for one machine"
            raise SpecError(problem, file=document.file)
        whole = document.parse(_File)
        return whole, whole, ()
    several = document.parse(_TargetsFile)
    label = next(iter(several.targets)) if target is None else target
    if label not in several.targets:
        raise SpecError(f"no target named {label!r} {near(label, several.targets)}", file=document.file)
    return several, several.targets[label], ("targets", label)


def _after(document: Document, file: _Mapped, place: FieldPath) -> tuple[tuple[int, ...], ...]:
    """By layer, the places of those that it reads: the one before unless the file says otherwise."""
    places = {layer.name: i for i, layer in enumerate(file.layers)}
    after = list(chain(len(file.layers)))
    for name, read in file.reads.items():
        if name not in places:
            raise document.error((*place, "reads", name), f"there is no layer {name!r} {near(name, places)}")
        before = [layer.name for layer in file.layers[: places[name]]]
        for one in read:
            if one not in before:
                problem = f"there is no layer {one!r} before {name} {near(one, before)}"
                raise document.error((*place, "reads", name), problem)
        after[places[name]] = tuple(sorted({places[one] for one in read}))
    return tuple(after)


def _mapping(document: Document, path: FieldPath, levels: list[dict[str, Any]]) -> Mapping:
    try:
        return Mapping.from_data(levels)
    except ValueError as error:
        raise document.error(path, str(error)) from None


def _checked(document: Document, given: _Accelerator, place: FieldPath) -> Accelerator:
    """The machine; refuses what no machine has (templates are checked far more closely)."""
    machine, choices = given.machine, tuple(given.choices.items())
    if isinstance(machine, _System):
        for label, part in machine.parts.items():
            _check(document, machine_flaw(part), (*place, "parts", label))
        _check(document, system_flaw(machine.clock_mhz, machine.shared_area_mm2, machine.parts), place)
        return system_of(machine.name, machine.clock_mhz, machine.parts, machine.shared_area_mm2, choices)
    _check(document, machine_flaw(machine), place)
    return replace(machine, choices=choices)


def _check(document: Document, flaw: Flaw | None, place: FieldPath) -> None:
    if flaw is not None:
        path, problem = flaw
        raise document.error((*place, *path), problem)
