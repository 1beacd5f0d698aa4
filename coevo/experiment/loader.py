"""Builds the parts of an experiment, each checked, and the plain data that stand for them in a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, create_model

from coevo.accelerator.template import Template, load_template
from coevo.accuracy.data import shown_name
from coevo.accuracy.settings import DataSettings
from coevo.design import digest
from coevo.errors import SpecError, near
from coevo.evaluate import (
    Constraint,
    JointSpace,
    Targets,
    computed_metrics,
    known_metrics,
    needs_accuracy,
    takes_one_by_one,
)
from coevo.experiment.parts import Plugin, content, located, refuse_machines, refuse_unknown
from coevo.experiment.schema import SCHEMA, AcceleratorSection, ExperimentFile
from coevo.experiment.targets import check_machines, load_targets, named_metric
from coevo.library import Document, FieldPath, find_plugin, fingerprint, plugin_file
from coevo.metrics import METRICS, ON_REQUEST
from coevo.networks import SpaceFile, load_space
from coevo.protocols import NETWORK, AccuracyModel, CostModel, Metric, Optimizer, Problem, Task
from coevo.sections import texts
from coevo.study import Budget, Header, Plan, Source, Sources
from coevo.study.costs import attach
from coevo.study.final import FinalPlan
from coevo.study.plan import versions
from coevo.study.sources import joint_space
from coevo.study.warm_start import WarmStart

_SOCKETS = {"cost": ("evaluate",), "optim": ("ask", "tell"), "accuracy": ("score",)}
"""The methods that a plug-in of each room must have."""


class Loader:
    """Builds an experiment's parts one after the other, each from those before.

    Args:
        document: The file, with its overrides.

    Attributes:
        spec: Its fields, checked.

    Raises:
        SpecError: Something in it is wrong.
        DataError: The accuracy model's data are absent.
    """

    def __init__(self, document: Document) -> None:
        known = document.data.get("schema")
        if known is None:
            raise document.error(("schema",), f"is missing; add `schema: {SCHEMA}`")
        if known != SCHEMA or isinstance(known, bool):
            raise document.error(("schema",), f"{known!r} is not known; this coevo reads schema {SCHEMA}")
        self.file = document.file
        data = {key: value for key, value in document.data.items() if key != "schema"}
        self.document = replace(document, data=data)
        self.spec = self.document.parse(ExperimentFile)

        check_machines(self.document, self.spec)
        self.labels = tuple(self.spec.targets or ())
        self.objectives = self._objectives()
        self.constraints = self._constraints()
        self.trains = needs_accuracy(self.objectives, self.constraints, self.labels)
        self._check_trainings()
        self.cost = self._plugin("cost", "cost", self.spec.cost)
        self.optimizer = self._plugin("optimizer", "optim", self.spec.optimizer)
        accuracy = self.spec.accuracy
        self.accuracy = None if accuracy is None else self._plugin("accuracy", "accuracy", accuracy)
        self.space = self._space()
        self.templates = self._templates()
        self.targets = load_targets(self.document, self.spec)
        self.model: AccuracyModel | None = None
        if self.accuracy is not None:
            self.model = self._built("accuracy", self.accuracy, self.accuracy.settings, self.file)
        self._check_steady_state()
        self.final_files: dict[str, Path] = {}
        self.final = self._final()
        self.task, self.deployment = self._tasks(self.model)
        self.joint = self._joint()
        self.cost_model = self._cost_model()

    def plan(self) -> Plan:
        """Returns the parts."""
        identity = self._identity()

        def build(problem: Problem, rng: np.random.Generator) -> Optimizer:
            built: Optimizer = self._built("optimizer", self.optimizer, problem, self.optimizer.settings, rng)
            return built

        return Plan(
            joint=self.joint,
            objectives=self.objectives,
            constraints=self.constraints,
            cost=self.cost_model,
            accuracy=self.model if self.trains else None,
            accuracy_id=digest([identity["accuracy"], identity["plugins"], identity["task"]]),
            optimizer=build,
            budget=self.budget,
            seed=self.spec.seed,
            identity=identity,
            header=self._header(identity),
            final=self.final,
            warm_start=self._warm_start(),
            in_flight=None if self.spec.steady_state is None else self.spec.steady_state.in_flight,
            near_file=self.file,
        )

    @property
    def budget(self) -> Budget:
        """The budget."""
        return Budget(**self.spec.budget.model_dump())

    # Each of these returns one part or raises SpecError.

    def _objectives(self) -> tuple[Metric, ...]:
        metrics: dict[str, Metric] = {}
        for i, name in enumerate(self.spec.objectives):
            with located(self.document, ("objectives", i)):
                metric = named_metric(name, self.labels, self.file)
            if metric.quantity.column in metrics:
                raise self.document.error(("objectives", i), f"{name!r} stands twice; remove one")
            if any(own.quantity.column == metric.quantity.column and own is not metric for own in METRICS.values()):
                problem = f"{metric.quantity.column} is a metric of coevo's own; give yours another name or unit"
                raise self.document.error(("objectives", i), problem)
            metrics[metric.quantity.column] = metric
        return tuple(metrics.values())

    def _constraints(self) -> tuple[Constraint, ...]:
        wanted = tuple(Constraint(column, c.max, c.min) for column, c in self.spec.constraints.items())
        columns = computed_metrics(self.objectives, wanted, with_accuracy=True, targets=self.labels)
        for column in self.spec.constraints:
            if column not in columns:
                problem = f"no such metric; a constraint is named with its unit {near(column, {*columns, *ON_REQUEST})}"
                raise self.document.error(("constraints", column), problem)
        return wanted

    def _check_trainings(self) -> None:
        if self.trains and self.spec.accuracy is None:
            objectives: list[FieldPath] = [
                ("objectives", i) for i, m in enumerate(self.objectives) if needs_accuracy([m], (), self.labels)
            ]
            constraints: list[FieldPath] = [
                ("constraints", c.column) for c in self.constraints if needs_accuracy((), [c], self.labels)
            ]
            raise self.document.error(
                [*objectives, *constraints][0], "needs the accuracy; add a section such as `accuracy: {name: train}`"
            )
        if not self.trains and self.spec.budget.trainings is not None:
            problem = "nothing is trained, for no objective or constraint needs the accuracy; budget designs instead"
            raise self.document.error(("budget", "trainings"), problem)

    def _check_steady_state(self) -> None:
        if self.spec.steady_state is None:
            return
        if not self.trains or self.accuracy is None or self.model is None:
            problem = "nothing is trained, so no worker ever waits for another; remove it"
            raise self.document.error(("steady_state",), problem)
        if not takes_one_by_one(self.model):
            raise self.document.error(
                ("accuracy", "name"),
                f"{self.accuracy.name!r} scores the networks of a batch together, which steady_state never has; take a "
                "model that judges each network alone, such as train, or remove steady_state",
            )

    def _plugin(self, section: str, kind: str, data: Mapping[str, Any], path: FieldPath = ()) -> Plugin:
        path = path or (section,)
        name = data.get("name")
        if not isinstance(name, str):
            raise self.document.error((*path, "name"), "is missing; name the plug-in")
        with located(self.document, (*path, "name")):
            plugin = find_plugin(kind, name, self.file)
        for part in ("Settings", *_SOCKETS[kind]):
            if not hasattr(plugin, part):
                raise self.document.error((*path, "name"), f"{name!r} is no {section} plug-in: it has no {part}")
        if not (isinstance(plugin.Settings, type) and issubclass(plugin.Settings, BaseModel)):
            raise self.document.error((*path, "name"), f"the Settings of {name!r} must be a pydantic model")
        nested: Any = {key: value for key, value in data.items() if key != "name"}
        model: Any = plugin.Settings
        for step in reversed(path):
            nested = {step: nested}
            model = create_model("Section", **{str(step): (model, ...)})  # type: ignore[call-overload]
        settings = replace(self.document, data=nested).parse(model)
        for step in path:
            settings = getattr(settings, str(step))
        return Plugin(name, plugin, settings)

    def _built(self, section: str, plugin: Plugin, *arguments: object) -> Any:
        try:
            with located(self.document, (section,) if section in self.document.data else ()):
                return plugin.plugin(*arguments)
        except TypeError as error:
            if ".py:" not in plugin.name:
                raise
            raise self.document.error((section, "name"), f"{plugin.name!r} cannot be built: {error}") from error

    def _space(self) -> SpaceFile:
        with located(self.document, ("network", "space")):
            return load_space(self.spec.network.space, self.file)

    def _templates(self) -> tuple[Template, ...]:
        templates: dict[str, Template] = {}
        for i, entry in enumerate(self._accelerators):
            with located(self.document, ("accelerators", i)):
                template = load_template(entry.template, self.file, entry.vary)
            if template.name in templates or template.name == NETWORK.removesuffix("."):
                problem = f"the template name {template.name!r} is taken; give the file's `name` another value"
                raise self.document.error(("accelerators", i), problem)
            templates[template.name] = template
        return tuple(templates.values())

    @property
    def _accelerators(self) -> list[AcceleratorSection]:
        return [AcceleratorSection(template=e) if isinstance(e, str) else e for e in self.spec.accelerators or ()]

    def _tasks(self, model: AccuracyModel | None) -> tuple[Task, Task | None]:
        """What networks are trained for, and what they are scored for if that differs."""
        wanted = self.spec.deployment
        if model is not None:
            with located(self.document, ()):
                task = model.task
            if wanted is None:
                return task, None
            deployment = Task(
                wanted.channels or task.channels, wanted.resolution or task.resolution, wanted.classes or task.classes
            )
            return task, None if deployment == task else deployment
        example = "`deployment: {resolution: 32, classes: 10}`"
        if wanted is None or wanted.resolution is None or wanted.classes is None:
            problem = f"without an accuracy section, say what networks are scored for: {example}"
            raise self.document.error(("deployment",), problem)
        return Task(wanted.channels or 3, wanted.resolution, wanted.classes), None

    def _final(self) -> FinalPlan | None:
        """How the front is trained anew: by its own section, or as in the search."""
        final = self.spec.final
        if final is None:
            return None
        if not self.trains or self.accuracy is None or self.model is None:
            raise self.document.error(("final",), "nothing is trained, so nothing can be trained anew; remove it")
        plugin, model = self.accuracy, self.model
        if final.accuracy is not None:
            plugin = self._plugin("accuracy", "accuracy", final.accuracy, ("final", "accuracy"))
            model = self._built("final", plugin, plugin.settings, self.file)
        if model.task != self.model.task:
            raise self.document.error(("final", "accuracy"), f"is for {model.task}, the search for {self.model.task}")
        # Seeds of their own: the search's own training, lucky perhaps, is none of them.
        seeds = [self.spec.seed + 1 + i for i in range(final.seeds)]
        self.final_files = self._files(texts(plugin.data))
        own = {name: fingerprint(path) for name, path in self.final_files.items()}
        return FinalPlan(model, {"accuracy": digest([plugin.data, own]), "seeds": seeds})

    def _warm_start(self) -> WarmStart | None:
        """What the run is to start from; the other runs are not looked at before this one is made."""
        section = self.spec.warm_start
        if section is None:
            return None

        def blame(run: int | None, problem: str) -> SpecError:
            path: FieldPath = ("warm_start", "runs")
            return self.document.error(path if run is None else (*path, run), problem)

        return WarmStart(tuple(section.runs), self.file, section.designs, section.most, blame)

    def _joint(self) -> JointSpace:
        try:
            machines = {label: target.machine for label, target in self.targets.items()}
            targets = Targets(machines, self.spec.across or "worst") if machines else None
            fixed = self.spec.network.fixed
            joint = joint_space(self.space, self.templates, self.task, self.deployment, fixed, targets)
        except ValueError as error:
            raise self.document.error(("network", "fixed"), str(error)) from None
        if self.trains and (check := getattr(self.model, "check", None)) is not None:
            with located(self.document, ("accuracy",)):
                check(joint.family)
        if self.final is not None and (check := getattr(self.final.model, "check", None)) is not None:
            with located(self.document, ("final",)):
                check(joint.family)
        first, _ = joint.attempt(np.zeros(len(joint.space.genes), dtype=np.int64))
        try:
            joint.workload(first.network)
        except (SpecError, ValueError) as error:
            raise self.document.error(("deployment",), f"no network of the space fits: {error}") from None
        return joint

    def _cost_model(self) -> CostModel:
        model: CostModel = self._built("cost", self.cost, self.cost.settings)
        metrics = computed_metrics(self.objectives, self.constraints, with_accuracy=True, targets=self.labels)
        with located(self.document, ("cost",) if "cost" in self.document.data else ()):
            attach(model, self.joint, self.file, {})
            machines = (template.build() for template in self.templates)
            refuse_machines(model, (*machines, *(target.machine for target in self.targets.values())))
            known = known_metrics(metrics, model, self.joint)
        refuse_unknown(self.document, self.cost.name, self.objectives, self.constraints, known)
        return model

    # -- plain data for the run folder -------------------------------------------------------------------------

    @property
    def _plugins(self) -> dict[str, Path]:
        """Files of the user's own plug-ins by the names that the experiment gives them."""
        given = [*texts(self.cost.data), self.optimizer.name, *self.spec.objectives]
        given += [] if self.accuracy is None else texts(self.accuracy.data)
        family = plugin_file(self.space.family, self.space.file) if ".py:" in self.space.family else None
        return self._files(given) | ({} if family is None else {self.space.family: family})

    def _files(self, names: Iterable[str]) -> dict[str, Path]:
        """Files of those names that are plug-ins ``path/to/file.py:Name``."""
        found = {name: plugin_file(name, self.file) for name in names if ".py:" in name}
        return {name: path for name, path in found.items() if path is not None}

    def _identity(self) -> dict[str, Any]:
        """All that decides what the run finds: contents of files, not their names; no budget, no prose."""
        spec = self.spec
        identity: dict[str, Any] = {
            "name": spec.name,
            "network": {"space": content(self.space.file), "fixed": spec.network.fixed},
            "accelerators": [
                {"template": template.name, "file": template.content, "vary": entry.vary}
                for template, entry in zip(self.templates, self._accelerators, strict=True)
            ],
            "objectives": list(spec.objectives),
            "constraints": {column: limits.model_dump() for column, limits in spec.constraints.items()},
            "accuracy": self.accuracy.data if self.accuracy is not None and self.trains else None,
            "task": asdict(self.task),
            "deployment": None if self.deployment is None else asdict(self.deployment),
            "cost": self.cost.data,
            "optimizer": self.optimizer.data,
            "seed": spec.seed,
            "plugins": {name: fingerprint(path) for name, path in self._plugins.items()},
        }
        # Only where they are given, so that runs from before them are still the same experiments.
        if spec.steady_state is not None:
            identity["steady_state"] = spec.steady_state.model_dump()
        if files := getattr(self.cost_model, "files", ()):
            identity["cost_files"] = [fingerprint(path) for path in files]
        if spec.warm_start is not None:
            identity["warm_start"] = spec.warm_start.model_dump()
        if spec.targets is not None:
            identity["targets"] = {
                label: {"template": t.template.name, "file": t.template.content, "set": dict(t.set)}
                for label, t in self.targets.items()
            }
            identity["across"] = spec.across or "worst"
        return identity

    def _header(self, identity: Mapping[str, Any]) -> Header:
        spec = self.spec
        metrics = computed_metrics(self.objectives, self.constraints, self.trains, self.labels)
        metrics = known_metrics(metrics, self.cost_model, self.joint)
        return Header(
            spec.name,
            self._facts(identity),
            yaml.safe_dump(self._complete(), sort_keys=False, allow_unicode=True, width=100),
            tuple(metric.quantity for metric in metrics.values()),
            tuple(metric.quantity.column for metric in self.objectives),
            tuple(map(str, self.constraints)),
            self._sources().to_data(),
            None if self.final is None else dict(self.final.record),
        )

    def _facts(self, identity: Mapping[str, Any]) -> dict[str, str]:
        target = self.deployment or self.task
        facts = {
            "experiment": digest(identity)[:12],
            "optimiser": str(self.optimizer),
            "seed": str(self.spec.seed),
            "budget": str(self.budget),
            "networks": f"{self.space.name} ({self.space.family})",
            **({} if self.targets else {"accelerators": ", ".join(template.name for template in self.templates)}),
            "scored for": f"{target.channels} x {target.resolution} x {target.resolution}, {target.classes} classes",
            "cost model": str(self.cost),
            "accuracy": self.accuracy.name if self.trains and self.accuracy is not None else "none",
            "versions": ", ".join(f"{name} {v}" for name, v in {**versions(), "Python": python_version()}.items()),
        }
        if self.targets:
            machines = ", ".join(f"{label} ({target})" for label, target in self.targets.items())
            facts["targets"] = f"{machines}; figures are the {self.spec.across or 'worst'} over them"
        if self.spec.steady_state is not None:
            facts["schedule"] = f"steady state, {self.spec.steady_state.in_flight} trainings in flight"
        if self.trains and self.accuracy is not None and "data" in self.accuracy.data:
            facts["data set"] = str(self.accuracy.data["data"])
            if isinstance(self.accuracy.settings, DataSettings):
                facts["data set"] = shown_name(self.accuracy.settings, self.file)
        return facts

    def _complete(self) -> dict[str, Any]:
        """The experiment as it would be written with every default spelt out."""
        data = {"schema": SCHEMA, **self.spec.model_dump(exclude_none=True)}
        plugins = {"cost": self.cost, "optimizer": self.optimizer, "accuracy": self.accuracy}
        return data | {section: plugin.data for section, plugin in plugins.items() if plugin is not None}

    def _sources(self) -> Sources:
        vary = [entry.vary for entry in self._accelerators]
        return Sources(
            Source.of(self.space.file),
            self.spec.network.fixed,
            tuple((Source.of_template(t), v) for t, v in zip(self.templates, vary, strict=True)),
            self.task,
            self.deployment,
            self.cost.name,
            self.cost.settings.model_dump(mode="json"),
            str(Path(self.file).resolve()),
            {str(path): fingerprint(path) for path in (self._plugins | self.final_files).values()},
            tuple((label, Source.of_template(t.template), dict(t.set)) for label, t in self.targets.items()),
            self.spec.across or "worst",
        )
