"""The machines of an experiment's ``targets``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coevo.accelerator.machine import Accelerator
from coevo.accelerator.template import Template, load_template
from coevo.design import AT
from coevo.errors import SpecError, near
from coevo.evaluate import on_target
from coevo.evaluate.targets import needs_machine
from coevo.experiment.parts import located
from coevo.experiment.schema import ExperimentFile, TargetSection
from coevo.library import Document
from coevo.metrics import find_metric
from coevo.protocols import Metric


@dataclass(frozen=True)
class Target:
    """One of several machines that every network is for.

    Attributes:
        template: What it is made from.
        set: Values of the template's fields that differ from its own.
        machine: What comes out.
    """

    template: Template
    set: Mapping[str, Any]
    machine: Accelerator

    def __str__(self) -> str:
        chosen = "".join(f", {path} {value}" for path, value in self.set.items())
        return f"{self.template.name}{chosen}"


def check_machines(document: Document, spec: ExperimentFile) -> None:
    """Refuses an experiment that names no machines, or both those to choose from and those that are given.

    Raises:
        SpecError: It does.
    """
    if spec.accelerators is None and spec.targets is None:
        problem = "is missing; add it, or `targets` for one network on several machines"
        raise document.error(("accelerators",), problem)
    if spec.accelerators is not None and spec.targets is not None:
        problem = "cannot stand beside accelerators: machines are chosen, or all of them are given; remove one"
        raise document.error(("targets",), problem)
    if spec.across is not None and spec.targets is None:
        raise document.error(("across",), "says nothing without targets; remove it")


def load_targets(document: Document, spec: ExperimentFile) -> dict[str, Target]:
    """Returns the targets by label; empty if the experiment has none.

    Raises:
        SpecError: A template is not there, or its fields cannot be set so.
    """
    found = {}
    for label, entry in (spec.targets or {}).items():
        section = TargetSection(template=entry) if isinstance(entry, str) else entry
        with located(document, ("targets", label)):
            template = load_template(section.template, document.file, {})
        with located(document, ("targets", label, "set") if section.set else ("targets", label)):
            try:
                machine = template.build(section.set)
            except SpecError as error:  # of the experiment, not of the template's file
                raise SpecError(error.problem, field=error.field) from None
        found[label] = Target(template, section.set, machine)
    return found


def named_metric(name: str, labels: Sequence[str], near_file: str) -> Metric:
    """Returns a metric by name; ``<name>@<label>`` is that on one target.

    Raises:
        SpecError: There is no such metric or target, or the metric is the same on all of them.
    """
    stem, at, label = name.rpartition(AT)
    if not at or not labels:
        return find_metric(name, near_file)
    metric = find_metric(stem, near_file)
    if label not in labels:
        raise SpecError(f"no target named {label!r} {near(label, labels)}")
    if not needs_machine(metric):
        raise SpecError(f"{stem} is the same on every target; leave {AT}{label} out")
    return on_target(metric, label)
