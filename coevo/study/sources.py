"""Keeps the files that a run was made from, as text, and builds the space and the cost model from them again.

A report may be written on another day, from another folder, with the files changed or gone and without the data
set. So a run folder holds the text of its space and templates, and what the data asked of a network. Python files
of the user's own are not kept, for opening a run folder must execute nothing that lies in it; they are used where
they lie, if they are unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from coevo.accelerator.template import MachineTemplate, Template, load_template
from coevo.design import Network, digest
from coevo.errors import CoevoError, RunError
from coevo.evaluate import JointSpace, Targets
from coevo.evaluate.targets import Across
from coevo.library import find_plugin, fingerprint, parse_yaml, plugin_file
from coevo.networks import SpaceFile, build_family, load_space
from coevo.protocols import CostModel, Task
from coevo.sections import texts
from coevo.study.costs import KeptFigures, attach
from coevo.workload import Source as NetworkSource


@dataclass(frozen=True)
class Source:
    """A data file as it was when the run began.

    Attributes:
        file: Where it lay, an absolute path.
        text: What it held.
    """

    file: str
    text: str

    @staticmethod
    def of(file: str) -> Source:
        """Reads a file that was just loaded."""
        return Source(str(Path(file).resolve()), Path(file).read_text(encoding="utf-8"))

    @staticmethod
    def of_template(template: Template) -> Source:
        """Takes a template's file; of one of several parts, the file with the parts' templates written in place."""
        if isinstance(template, MachineTemplate):
            return Source.of(template.file)
        text = yaml.safe_dump(dict(template.content), sort_keys=False, allow_unicode=True)
        return Source(str(Path(template.file).resolve()), text)

    @contextmanager
    def opened(self) -> Iterator[str]:
        """Gives a path to the text: the file itself if it is unchanged, else a copy."""
        original = Path(self.file)
        try:
            unchanged = original.read_text(encoding="utf-8") == self.text
        except (OSError, UnicodeDecodeError):
            unchanged = False
        if unchanged:
            yield self.file
            return
        with TemporaryDirectory(prefix="coevo-") as folder:
            copy = Path(folder) / original.name
            copy.write_text(self.text, encoding="utf-8")
            yield str(copy)


@dataclass(frozen=True)
class Sources:
    """What the space and the cost model of a run were made from.

    Attributes:
        space: The network space.
        fixed: The one network, if it is given.
        templates: The accelerators, each with the experiment's own `vary` (None for the template's).
        task: What the data ask of a network.
        deployment: What the networks are scored for; None for ``task``.
        cost: Name of the cost model.
        cost_settings: Its settings, complete.
        near_file: The experiment's file, an absolute path; what the cost model's name is relative to.
        plugins: Digests of the user's own Python files by absolute path.
        targets: The machines that every network is for, where there are several: label, template, values of fields.
        across: What figures are over the targets.
    """

    space: Source
    fixed: Mapping[str, Any] | None
    templates: tuple[tuple[Source, Mapping[str, Any] | None], ...]
    task: Task
    deployment: Task | None
    cost: str
    cost_settings: Mapping[str, Any]
    near_file: str
    plugins: Mapping[str, str]
    targets: tuple[tuple[str, Source, Mapping[str, Any]], ...] = ()
    across: Across = "worst"

    def to_data(self) -> dict[str, Any]:
        """Returns the sources as plain data."""
        return asdict(self)

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Sources:
        """Reads what `to_data` wrote."""
        return Sources(
            Source(**data["space"]),
            data["fixed"],
            tuple((Source(**source), vary) for source, vary in data["templates"]),
            Task(**data["task"]),
            None if data["deployment"] is None else Task(**data["deployment"]),
            data["cost"],
            data["cost_settings"],
            data["near_file"],
            data["plugins"],
            tuple((label, Source(**source), choices) for label, source, choices in data.get("targets", ())),
            data.get("across", "worst"),
        )

    def build(self, folder: Path) -> tuple[JointSpace, CostModel]:
        """Builds the space and the cost model again.

        Args:
            folder: The run folder, out of which no Python file is run.

        Raises:
            RunError: The files do not build with this coevo, or a Python file of the user's changed or is gone.
        """
        try:
            self._check_plugins(folder)
            with self.space.opened() as file:
                space = load_space(file)
                templates = [_template(source, vary) for source, vary in self.templates]
                machines = {label: _template(source, {}).build(chosen) for label, source, chosen in self.targets}
                targets = Targets(machines, self.across) if machines else None
                joint = joint_space(space, templates, self.task, self.deployment, self.fixed, targets)
            plugin = find_plugin("cost", self.cost, self.near_file)
            cost: CostModel = plugin(plugin.Settings.model_validate(self.cost_settings))
            attach(cost, joint, self.near_file, KeptFigures(folder, read_only=True), may_run=False)
        except RunError:
            raise
        except (CoevoError, ValueError) as error:
            raise RunError(f"{folder}: does not build with this coevo: {error}") from None
        return joint, cost

    def _check_plugins(self, folder: Path) -> None:
        family = parse_yaml(self.space.text, self.space.file).data.get("family")
        own = [(name, self.near_file) for name in (self.cost, *texts(self.cost_settings))]
        for name, near_file in (*own, (str(family), self.space.file)):
            self.check_plugin(folder, name, near_file)

    def check_plugin(self, folder: Path, name: str, near_file: str) -> None:
        """Refuses to run a Python file of the user's that lies in the run folder or is not the one of the run.

        Args:
            folder: The run folder.
            name: What the experiment or space names; without a file, all is well.
            near_file: The file that names it.

        Raises:
            RunError: As said.
        """
        if ".py:" not in name:
            return
        path = plugin_file(name, near_file)
        if path is None:
            raise RunError(f"{folder}: was made with the plug-in {name}, whose file is gone; put it back")
        if path.is_relative_to(folder.resolve()):
            raise RunError(f"{folder}: Python files in a run folder are not run; move {path} elsewhere")
        if str(path) not in self.plugins:
            problem = f"holds no fingerprint of {path}; the same `coevo run` once more writes it down"
            raise RunError(f"{folder}: {problem}")
        if self.plugins[str(path)] != fingerprint(path):
            raise RunError(f"{folder}: was made with another {path}; put back the one it was made with")


def joint_space(
    space: SpaceFile,
    templates: Sequence[Template],
    task: Task,
    deployment: Task | None,
    fixed: Mapping[str, Any] | None,
    targets: Targets | None = None,
) -> JointSpace:
    """Returns the joint space of a network space and templates or targets.

    Raises:
        ValueError: As `JointSpace`.
    """
    target = deployment or task

    def source(network: Network) -> NetworkSource:
        shape = (target.channels, target.resolution, target.resolution)
        key = digest([network.key, asdict(target)])
        return NetworkSource(key, network.choices, shape, partial(_module, space, target, network.choices))

    return JointSpace(space.name, build_family(space, task), templates, fixed, deployment, targets, source)


def _module(space: SpaceFile, task: Task, choices: Mapping[str, Any]) -> Any:
    """Builds a network as it is deployed, which may be for another task than it is trained for."""
    return build_family(space, task).module(choices)


def _template(source: Source, vary: Mapping[str, Any] | None) -> Template:
    with source.opened() as file:
        return replace(load_template(file, vary=vary), file=source.file)
