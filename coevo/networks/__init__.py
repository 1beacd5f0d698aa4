"""Network spaces: a YAML file in ``spaces/`` names a family and its settings; a family makes networks of genes.

    space = load_space("cifar10_mbconv")
    family = build_family(space, Task(channels=3, resolution=32, classes=10))
    family.genes                          # the decisions
    family.workload(choices)              # the loop nests, for the cost model
    family.module(choices)                # the nn.Module, for training; only this imports torch

A new family is one file beside `coevo.networks.mbconv` (or anywhere: ``family: path/to/file.py:Name``) that turns
choices into a `coevo.networks.graph.Graph`; lowering and module come with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from coevo.errors import SpecError
from coevo.library import Document, find_data, find_plugin, read_yaml
from coevo.protocols import NetworkFamily, Task

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["SpaceFile", "build_family", "load_space"]

SCHEMA = 1
"""Version of the files that this program reads."""

_HEADER = ("schema", "name", "description", "family")


@dataclass(frozen=True)
class SpaceFile:
    """A network space as its file describes it, checked.

    Attributes:
        name: Of the space.
        description: One line for people.
        family: Name of the family, as in the file.
        settings: The family's own settings.
        file: The file, as the user would name it.
        document: Its text as data, with lines for error messages.
    """

    name: str
    description: str
    family: str
    settings: BaseModel
    file: str
    document: Document = field(repr=False, compare=False)


def load_space(name: str, near_file: str = "") -> SpaceFile:
    """Reads and checks a network space.

    Args:
        name: A name such as ``digits_mbconv``, or a path ending in ``.yaml``.
        near_file: The file that names it; a relative path is tried from its folder first.

    Raises:
        SpecError: There is none, or it holds a mistake; the text names file, line, field, value and cure.
    """
    document = read_yaml(find_data("spaces", name, near_file))
    header = _header(document)
    plugin = _plugin(document, header["family"])
    own = {key: value for key, value in document.data.items() if key not in _HEADER}
    settings = Document(document.file, own, document.lines).parse(plugin.Settings)
    return SpaceFile(**header, settings=settings, file=document.file, document=document)


def build_family(space: SpaceFile, task: Task) -> NetworkFamily:
    """Returns the space's family, built for a task.

    Raises:
        SpecError: The space does not fit the task (a map shrinks to nothing, say); the text names the field.
    """
    plugin = _plugin(space.document, space.family)
    try:
        return plugin(space.settings, task)
    except SpecError as error:
        path = tuple(int(step) if step.isdigit() else step for step in error.field.split(".") if step)
        raise space.document.error(path, error.problem) from None


def _header(document: Document) -> dict[str, str]:
    """The checked text fields that every space has; refuses another schema."""
    for key in _HEADER:
        if key not in document.data:
            raise document.error((key,), "is missing; add it")
    if document.data["schema"] != SCHEMA:
        raise document.error(("schema",), f"{document.data['schema']!r} is not known; this coevo reads schema {SCHEMA}")
    for key in _HEADER[1:]:
        if not isinstance(document.data[key], str) or not document.data[key].strip():
            raise document.error((key,), f"must be text, got {document.data[key]!r}")
    return {key: document.data[key] for key in _HEADER[1:]}


def _plugin(document: Document, family: str) -> type[NetworkFamily]:
    try:
        return cast("type[NetworkFamily]", find_plugin("networks", family, document.file))
    except SpecError as error:
        raise error if error.file else document.error(("family",), error.problem) from None
