"""A `Template` is a complete machine plus the fields that may vary: choices in, `Accelerator` out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from coevo.accelerator.build import build_machine
from coevo.accelerator.machine import Accelerator
from coevo.accelerator.vary import RuleError, VaryField, assigned, expand, unknown_field, variable_fields
from coevo.errors import SpecError
from coevo.library import Document, FieldPath, find_data, read_yaml
from coevo.workload import OPERANDS

if TYPE_CHECKING:
    from coevo.accelerator.schema import MachineSpec


SCHEMA = 1
"""Version of the form of an accelerator file."""


@dataclass(frozen=True)
class Template(ABC):
    """A machine and what may vary in it.

    Attributes:
        name: Its name, the prefix of its genes.
        description: One line for people.
        file: Where it was read from.
        fields: What may vary, in the file's order.
        content: All that it is made from, as plain data: the file's, with those of the parts' templates in place.
    """

    name: str
    description: str
    file: str
    fields: tuple[VaryField, ...]
    content: Mapping[str, Any] = field(repr=False)

    @property
    def size(self) -> int:
        """Number of machines: the product of the fields' choices."""
        return math.prod(len(varied.choices) for varied in self.fields)

    @property
    @abstractmethod
    def paths(self) -> Iterable[str]:
        """Dotted paths of all fields that can be set, whether or not they vary."""

    @abstractmethod
    def build(self, choices: Mapping[str, object] | None = None) -> Accelerator:
        """Returns the machine for values by dotted path; what is absent keeps the template's own value.

        Every value of every field is valid alone (checked on loading); a *combination* need not be.

        Raises:
            SpecError: A path names no field, or the values do not make a valid machine.
        """

    @abstractmethod
    def own(self, path: str) -> object:
        """Returns the template's own value of a field, with defaults; None where the technology says."""

    @abstractmethod
    def unknown(self, path: str) -> str:
        """Returns why a dotted path names no field, with the near ones."""

    def recorded(self, chosen: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
        """Returns what every field is set to (`Accelerator.choices`): equal machines get equal records (64, 64.0)."""
        values = []
        for varied in self.fields:
            value = chosen.get(varied.path, self.own(varied.path))
            values.append((varied.path, next((choice for choice in varied.choices if choice == value), value)))
        known = {path for path, _ in values}
        return (*values, *((path, chosen[path]) for path in sorted(chosen) if path not in known))


@dataclass(frozen=True)
class MachineTemplate(Template):
    """A template of one accelerator.

    Attributes:
        spec: The machine as the file gives it.
    """

    spec: MachineSpec = field(repr=False)
    _document: Document = field(repr=False)

    @cached_property
    def paths(self) -> Mapping[str, FieldPath]:
        """Dotted paths of all fields that can be set, and where they stand in the file's data."""
        return variable_fields(self.spec)

    def build(self, choices: Mapping[str, object] | None = None) -> Accelerator:
        """Returns the machine for values by dotted path, as `Template.build`."""
        chosen = dict(choices or {})
        return build_machine(self.varied(chosen), self.spec, self.recorded(chosen))

    def unknown(self, path: str) -> str:
        """Returns why a dotted path names no field, with the near ones."""
        return unknown_field(path, self.paths)

    def own(self, path: str) -> object:
        """Returns the template's own value of a field, with defaults; None where the technology says."""
        if path == "dataflow":
            dataflow = self.spec.dataflow
            return dataflow if isinstance(dataflow, str) else dataflow.name
        room, *rest = self.paths[path]
        if room == "word_bits":
            return self.spec.bits()[OPERANDS.index(str(rest[0]))] if rest else self.spec.bits()
        value: object = getattr(self.spec, str(room))
        for step in rest:
            value = (
                value[step] if isinstance(value, list) and isinstance(step, int) else getattr(value, f"{step}", None)
            )
        return value

    def varied(self, choices: Mapping[str, object]) -> MachineSpec:
        """Returns the specification with some fields set; raises SpecError with the file's lines."""
        if not choices:
            return self.spec
        data, paths = self._document.data, self.paths
        for path, value in choices.items():
            if path not in paths:
                raise SpecError(self.unknown(path), file=self.file, field=path)
            data = assigned(data, paths[path], value)
        own = self.spec.dataflow
        if not isinstance(own, str) and data["dataflow"] == own.name:
            data = {**data, "dataflow": self._document.data["dataflow"]}
        return _check(replace(self._document, data=data))


def load_template(name: str, near_file: str = "", vary: Mapping[str, object] | None = None) -> Template:
    """Reads an accelerator file and checks everything about it.

    Args:
        name: A name such as ``eyeriss``, or a path.
        near_file: The file that names it; a relative path is tried from its folder first.
        vary: Replaces the file's own ``vary`` (same form; ``{}`` fixes the machine); None keeps it.

    Raises:
        SpecError: There is no such file, or something in it (or in ``vary``) is wrong.
    """
    return _load(read_yaml(find_data("accelerators", name, near_file)), near_file, vary)


def _load(whole: Document, near_file: str, vary: Mapping[str, object] | None) -> Template:
    version = whole.data.get("schema")
    if version is None:
        raise whole.error(("schema",), f"is missing; add `schema: {SCHEMA}`")
    if version != SCHEMA or isinstance(version, bool):
        raise whole.error(("schema",), f"{version!r} is not known; this coevo reads schema {SCHEMA}")
    body = {key: value for key, value in whole.data.items() if key not in ("schema", "vary")}
    document = replace(whole, data=body)
    template = _system(document, whole) if "parts" in body else _machine(document, whole)
    if vary is None:
        own = whole.data.get("vary")
        rules = Document(whole.file, {"vary": {} if own is None else own}, whole.lines)
    else:
        rules = Document(near_file or whole.file, {"vary": dict(vary)}, {})
    return replace(template, fields=_fields(template, rules))


def _machine(document: Document, whole: Document) -> MachineTemplate:
    spec = _check(document)
    return MachineTemplate(spec.name, spec.description, whole.file, (), whole.data, spec, document)


def _system(document: Document, whole: Document) -> Template:
    """A template of several parts, each with a template of its own, named or written in place."""
    from coevo.accelerator.system_template import SystemTemplate, inlined, read_parts

    def load_part(template: str | dict[str, Any], path: FieldPath) -> Template:
        if isinstance(template, str):
            return load_template(template, whole.file, {})
        lines = {place[len(path) :]: line for place, line in whole.lines.items() if place[: len(path)] == path}
        return _load(Document(whole.file, template, lines), whole.file, {})

    spec, parts = read_parts(document, load_part)
    return SystemTemplate(
        spec.name, spec.description, whole.file, (), inlined(whole.data, parts), spec, document, parts
    )


def _check(document: Document) -> MachineSpec:
    from coevo.accelerator.schema import MachineSpec, find_flaw

    spec = document.parse(MachineSpec)
    flaw = find_flaw(spec)
    if flaw is not None:
        raise document.error(*flaw)
    return spec


def _fields(template: Template, rules: Document) -> tuple[VaryField, ...]:
    """Expands the rules and builds the machine of every value of every field once."""
    vary, known = rules.data["vary"], set(template.paths)
    if not isinstance(vary, dict):
        raise rules.error(("vary",), f"must map dotted paths to values, got {vary!r}")
    fields = []
    for path, rule in vary.items():
        if path not in known:
            raise rules.error(("vary", path), template.unknown(path))
        if path.startswith("word_bits.") and "word_bits" in vary:
            raise rules.error(("vary", path), "overlaps word_bits; vary one of them")
        try:
            fields.append(expand(path, rule))
        except RuleError as error:
            where: FieldPath = ("vary", path) if error.key is None else ("vary", path, error.key)
            raise rules.error(where, str(error)) from None
        _try_each(template, fields[-1], rules)
    return tuple(fields)


def _try_each(template: Template, varied: VaryField, rules: Document) -> None:
    for value in varied.choices:
        try:
            template.build({varied.path: value})
        except SpecError as error:
            problem = f"the value {value!r} makes no machine: {error.field}: {error.problem}"
            raise rules.error(("vary", varied.path), problem) from None
