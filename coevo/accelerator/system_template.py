"""Templates of several accelerators that share one DRAM: the file names its parts' templates instead of memories.

technology_nm: 28                          # of the chip, so of all parts; word_bits too
clock_mhz: 1000                            # counts cycles and bandwidth; a part's own is its template's, or set
word_bits: 8
dram: {words_per_cycle: 16}                # what the parts share
parts:
  dense: {template: nvdla, set: {memories.conv_buffer.size_kib: 256}}
  depthwise: {template: shidiannao}
vary:
  dense.memories.conv_buffer.fanout.x: {from: 4, to: 32, times: 2}
  dram.words_per_cycle: {any_of: [8, 16]}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from coevo.accelerator import technology
from coevo.accelerator.machine import Accelerator, Memory
from coevo.accelerator.schema import ChipSpec, MachineSpec, MemorySpec, Name, Positive, Strict
from coevo.accelerator.system import System, system_of
from coevo.accelerator.technology import DramKind
from coevo.accelerator.template import MachineTemplate, Template
from coevo.accelerator.vary import assigned
from coevo.errors import SpecError, near
from coevo.library import Document, FieldPath
from coevo.workload import OPERANDS

DRAM = "dram"
"""What the memory that all parts share is called, and the section that describes it."""

_OF_CHIP = ("technology_nm", "word_bits")
"""Fields of a part's template that are the whole chip's."""


class DramSpec(Strict):
    """The memory that all parts share: its kind gives the energy, the bandwidth is that of reads and writes."""

    kind: DramKind = "lpddr4"
    words_per_access: Annotated[int, Field(ge=1, le=4096)] = 8
    words_per_cycle: Positive


class PartSpec(Strict):
    """One accelerator: the name or path of its template, or the template itself, and fields set to other values."""

    template: str | dict[str, Any]
    set: dict[str, Any] = Field(default={})


class SystemSpec(ChipSpec):
    """A system: an accelerator file of several parts without ``schema`` and ``vary``."""

    dram: DramSpec
    parts: Annotated[dict[Name, PartSpec], Field(min_length=1)]


@dataclass(frozen=True)
class Part:
    """One accelerator of a system template.

    Attributes:
        template: What it is made from.
        set: Values of fields that are not the template's own.
    """

    template: MachineTemplate
    set: Mapping[str, Any]

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Dotted paths of the fields that are this part's to say: not those of the chip or the DRAM."""
        dram = self.template.spec.memories[0].name
        shared = {f"memories.{dram}.{name}" for name in MemorySpec.model_fields}
        return tuple(x for x in self.template.paths if x.split(".")[0] not in _OF_CHIP and x not in shared)

    def refusal(self, path: str) -> str | None:
        """Returns why a field cannot be set in this part, None if it can."""
        if path in self.paths:
            return None
        if path.partition(".")[0] in _OF_CHIP:
            return f"is the whole chip's; give {path} at the top of the file"
        if path in self.template.paths:
            return f"is of the {DRAM} that all parts share; give it in the section `{DRAM}`"
        return self.template.unknown(path)

    def own(self, path: str) -> object:
        """The value of a field before anything varies."""
        return self.set[path] if path in self.set else self.template.own(path)


@dataclass(frozen=True)
class SystemTemplate(Template):
    """A template of several accelerators that share one DRAM.

    Attributes:
        spec: The system as the file gives it.
        parts: Its accelerators by label.
    """

    spec: SystemSpec = field(repr=False)
    _document: Document = field(repr=False)
    parts: Mapping[str, Part]

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Dotted paths of all fields that can be set: the chip's, the DRAM's, and ``<part>.<path>``."""
        chip = ("technology_nm", "clock_mhz", "other_area_mm2", "word_bits")
        words = tuple(f"word_bits.{operand}" for operand in OPERANDS)
        shared = tuple(f"{DRAM}.{name}" for name in DramSpec.model_fields)
        return (
            *chip,
            *words,
            *shared,
            *(f"{label}.{path}" for label, part in self.parts.items() for path in part.paths),
        )

    def build(self, choices: Mapping[str, object] | None = None) -> System:
        """Returns the system for values by dotted path, as `Template.build`."""
        chosen = dict(choices or {})
        for path in chosen:
            if path not in self.paths:
                raise SpecError(self.unknown(path), file=self.file, field=path)
        spec = self._varied({path: value for path, value in chosen.items() if not self._of_part(path)})
        machines = {label: self._part(label, spec, chosen) for label in self.parts}
        for label, machine in machines.items():
            if machine.clock_mhz > spec.clock_mhz:
                problem = f"{machine.clock_mhz:g} is faster than the chip's {spec.clock_mhz:g}, which counts the cycles"
                raise SpecError(f"{problem}; make that as fast", file=self.file, field=f"{label}.clock_mhz")
        return system_of(self.name, spec.clock_mhz, machines, spec.other_area_mm2, self.recorded(chosen))

    def own(self, path: str) -> object:
        """Returns the template's own value of a field, with defaults; None where the technology says."""
        label, _, rest = path.partition(".")
        if self._of_part(path):
            return self.parts[label].own(rest)
        if label == "word_bits":
            return self.spec.bits()[OPERANDS.index(rest)] if rest else self.spec.word_bits
        return getattr(self.spec.dram, rest) if label == DRAM else getattr(self.spec, label)

    def unknown(self, path: str) -> str:
        """Returns why a dotted path names no field, with the near ones."""
        label, dot, rest = path.partition(".")
        if self._of_part(path):
            return self.parts[label].refusal(rest) or "there is no such field"
        if label == DRAM and dot:
            return f"there is no such field {near(path, (known for known in self.paths if known.startswith(DRAM)))}"
        own = (known for known in self.paths if not self._of_part(known))
        return f"there is no such part or field {near(label, (*self.parts, *own))}"

    def part_spec(self, label: str) -> MachineSpec:
        """Returns a part as it stands in the system, its DRAM aside."""
        part = self.parts[label]
        return part.template.varied({**_imposed(self.spec), **part.set})

    def _of_part(self, path: str) -> bool:
        label, dot, _ = path.partition(".")
        return bool(dot) and label in self.parts

    def _varied(self, choices: Mapping[str, object]) -> SystemSpec:
        if not choices:
            return self.spec
        data: Any = self._document.data
        for path, value in choices.items():
            data = assigned(data, tuple(path.split(".")), value)
        return replace(self._document, data=data).parse(SystemSpec)

    def _part(self, label: str, spec: SystemSpec, chosen: Mapping[str, object]) -> Accelerator:
        part, prefix = self.parts[label], f"{label}."
        own = {path.removeprefix(prefix): value for path, value in chosen.items() if path.startswith(prefix)}
        try:
            machine = part.template.build({**_imposed(spec), **part.set, **own})
        except SpecError as error:  # of this file or of whoever chose, not of the part's template
            raise SpecError(error.problem, file=self.file, field=prefix + error.field) from None
        shared = shared_dram(spec, machine.memories[0], machine.clock_mhz)
        return replace(machine, memories=(shared, *machine.memories[1:]), choices=())


def _imposed(spec: SystemSpec) -> dict[str, object]:
    """What the chip says of every part."""
    words = spec.word_bits
    return {
        "technology_nm": spec.technology_nm,
        "word_bits": words if isinstance(words, int) else words.model_dump(),
    }


def shared_dram(spec: SystemSpec, own: Memory, clock_mhz: float) -> Memory:
    """Returns the system's DRAM as a part sees it that has it to itself.

    Args:
        spec: The system.
        own: The outermost memory of the part's template: what of it is the part's (loops, fan-out) stays.
        clock_mhz: Of the part [MHz].
    """
    word_bits = max(spec.bits())
    found = technology.dram(spec.dram.words_per_access * word_bits, spec.dram.kind)
    return replace(
        own,
        name=DRAM,
        size_bits=float("inf"),
        word_bits=word_bits,
        words_per_access=spec.dram.words_per_access,
        read_words_per_cycle=float("inf"),
        write_words_per_cycle=float("inf"),
        words_per_cycle=spec.dram.words_per_cycle * spec.clock_mhz / clock_mhz,
        read_energy_pj=found.read_energy_pj,
        write_energy_pj=found.write_energy_pj,
        leakage_mw=found.leakage_mw,
    )


LoadPart = Callable[[str | dict[str, Any], FieldPath], Template]
"""Loads the template that stands at a path of the file, by name or in place."""


def read_parts(document: Document, load_part: LoadPart) -> tuple[SystemSpec, dict[str, Part]]:
    """Checks a system's file and reads its parts.

    Raises:
        SpecError: Something in it is wrong.
    """
    spec = document.parse(SystemSpec)
    parts: dict[str, Part] = {}
    for label, given in spec.parts.items():
        path: FieldPath = ("parts", label, "template")
        try:
            template = load_part(given.template, path)
        except SpecError as error:
            raise error if error.file else document.error(path, error.problem) from None
        if label == DRAM:
            problem = f"a part cannot be called {DRAM}, as the memory that all parts share is; give it another name"
            raise document.error(("parts", label), problem)
        if not isinstance(template, MachineTemplate):
            raise document.error(path, f"{template.name!r} has parts itself; name a template of one accelerator")
        if len(template.spec.memories) < 2:
            problem = f"{template.name!r} has no memory on chip; a part needs one beside the shared {DRAM}"
            raise document.error(path, problem)
        parts[label] = Part(template, given.set)
        _check_set(document, spec, label, parts[label])
        clock_mhz = float(parts[label].own("clock_mhz"))  # type: ignore[arg-type]  # checked to be a number
        if clock_mhz > spec.clock_mhz:
            problem = f"{spec.clock_mhz:g} is slower than {label}, {clock_mhz:g}; give the fastest part's or more"
            raise document.error(("clock_mhz",), problem)
    return spec, parts


def _check_set(document: Document, spec: SystemSpec, label: str, part: Part) -> None:
    """Sets a part's fields one after the other, so that a mistake is told of the first that makes no machine."""
    done = _imposed(spec)
    where: FieldPath = ("parts", label)
    for path, value in (("", None), *part.set.items()):
        here = (*where, "set", path) if path else where
        if path and (problem := part.refusal(path)) is not None:
            raise document.error(here, problem)
        done |= {path: value} if path else {}
        try:
            part.template.varied(done)
        except SpecError as error:
            about = "" if error.field == path else f"{error.field}: "
            raise document.error(here, about + error.problem) from None


def inlined(data: Mapping[str, Any], parts: Mapping[str, Part]) -> dict[str, Any]:
    """Returns a system's file with its parts' templates written in place: it then depends on no other file."""
    whole = {label: {**data["parts"][label], "template": dict(part.template.content)} for label, part in parts.items()}
    return {**data, "parts": whole}
