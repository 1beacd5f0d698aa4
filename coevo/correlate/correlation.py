"""Scores random networks of a space by several accuracy models, and compares their rankings with a reference's."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from coevo.accuracy.stack import Section, build, close, memory_key
from coevo.correlate.statistics import Agreement, Array, agreement, ranks
from coevo.design import Accuracy, Network
from coevo.errors import SpecError
from coevo.experiment.override import override
from coevo.library import find_data, read_yaml
from coevo.networks import build_family, load_space
from coevo.protocols import AccuracyModel, Candidate, Context, NetworkFamily
from coevo.space import Space
from coevo.study.store import Store

SCHEMA = 1
"""Version of the files that this program reads."""

_MOST_DRAWS = 100
"""Draws per network wanted after which the space counts as exhausted."""


class CorrelationFile(BaseModel):
    """What a file for ``coevo correlate`` says.

    Attributes:
        name: Of the folder of results, unless another is given.
        description: One line for people.
        space: A network space.
        networks: How many to draw at random, each once.
        labelled: So many more are scored by the reference for models that learn (`Context.history`).
        seed: Of the draw, and of the models.
        top_share: Share of the networks that counts as the best.
        reference: The accuracy model that is believed.
        models: Those that are judged, by label.
        combined: Labels of models whose ranks are added, by label: a list, or the weight of each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    description: str = ""
    space: str
    networks: Annotated[int, Field(ge=3)] = 200
    labelled: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] = 0
    top_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    reference: Section
    models: Annotated[dict[str, Section], Field(min_length=1)]
    combined: dict[str, Annotated[dict[str, Annotated[float, Field(gt=0)]], Field(min_length=2)]] = {}

    @field_validator("combined", mode="before")
    @classmethod
    def _weighted(cls, combined: Any) -> Any:
        """A list gives all its models the same weight."""
        if not isinstance(combined, dict):
            return combined
        return {
            label: dict.fromkeys(parts, 1.0) if isinstance(parts, list) else parts for label, parts in combined.items()
        }

    @model_validator(mode="after")
    def _known(self) -> CorrelationFile:
        for label, parts in self.combined.items():
            unknown = [part for part in parts if part not in self.models]
            if unknown:
                raise ValueError(f"combined {label!r} names {unknown[0]!r}, which is not among the models")
            if label in self.models:
                raise ValueError(f"the label {label!r} stands among models and combined; rename one")
        return self


@dataclass(frozen=True, eq=False)
class Rung:
    """One model's verdict.

    Attributes:
        label: As in the file.
        errors: ``(network,)``, infinite where the model failed.
        agreement: With the reference.
        seconds: Mean time per network [s], what was done once for all of them left out.
        once: What the model did once for all networks [s], a supernet's training say.
        failed: Networks of which the model has no figure.
        fidelity: What kind of figures they are.
    """

    label: str
    errors: Array
    agreement: Agreement
    seconds: float
    once: float
    failed: int
    fidelity: str


@dataclass(frozen=True, eq=False)
class Results:
    """What came out.

    Attributes:
        name: Of the file.
        space: Name of the network space.
        networks: The networks, in the order of every ``(network,)`` axis.
        truth: The reference's errors ``(network,)``.
        reference: What kind of figures those are.
        rungs: By label.
    """

    name: str
    space: str
    networks: tuple[Network, ...]
    truth: Array
    reference: str
    rungs: Mapping[str, Rung]


@dataclass(frozen=True, eq=False)
class Correlation:
    """A checked file, ready to run.

    Attributes:
        spec: Its fields.
        file: Where it was read from.
        family: The space's networks.
    """

    spec: CorrelationFile
    file: str
    family: NetworkFamily

    def run(self, folder: Path | str, jobs: int = 1, tell: Callable[[str, int, int], None] | None = None) -> Results:
        """Scores what is not scored yet, and compares.

        Every figure is kept in ``folder`` as soon as it is known: the same call goes on after a kill, and a changed
        file uses what still holds.

        Args:
            folder: Where figures are kept; made if it is not there.
            jobs: Processes to use; no figure depends on it.
            tell: Called with (label, networks done, networks) after each.

        Raises:
            RunError: The folder is in use or holds something else.
            DataError: Data are absent.
            SpecError: A model cannot score these networks, or the reference fails on one.
        """
        spec = self.spec
        store = Store(Path(folder))
        try:
            drawn = self._draw(spec.networks + spec.labelled)
            networks, others = drawn[: spec.networks], drawn[spec.networks :]
            memory = store.accuracies
            reference = self._score("reference", spec.reference, drawn, Context(memory=memory), jobs, tell)
            _refuse_failures(drawn, reference, self.file)
            known = [Candidate(n, np.empty((1, 0)), reference[n.key]) for n in others]
            context = Context(
                history=tuple(known),
                company=tuple(Candidate(n, np.empty((1, 0))) for n in networks),
                memory=memory,
                folder=Path(folder),
            )
            scores = {
                label: self._score(label, section, networks, context, jobs, tell)
                for label, section in spec.models.items()
            }
            setups = {label: _setup(section, memory) for label, section in spec.models.items()}
        finally:
            store.close()
        truth = np.array([reference[network.key].error for network in networks])
        rungs = {
            label: _rung(label, [known[n.key] for n in networks], setups[label], truth, spec.top_share)
            for label, known in scores.items()
        }
        for label, parts in spec.combined.items():
            rungs[label] = _combined(
                label, [(rungs[part], weight) for part, weight in parts.items()], truth, spec.top_share
            )
        return Results(spec.name, spec.space, tuple(networks), truth, _fidelity(reference.values()), rungs)

    def _score(
        self,
        label: str,
        section: Mapping[str, Any],
        networks: Sequence[Network],
        context: Context,
        jobs: int,
        tell: Callable[[str, int, int], None] | None,
    ) -> dict[str, Accuracy]:
        """Returns a model's accuracies by network key; those that the memory has are not computed again."""
        memory, seed = context.memory, self.spec.seed
        learns = len(context.history) if context.history else 0
        keys = {network.key: memory_key({**section, "labelled": learns}, network.key, seed) for network in networks}
        known = {network: memory[key] for network, key in keys.items() if key in memory}
        missing = [network for network in networks if network.key not in known]
        if missing:
            model = build(section, self.file)
            try:
                check = getattr(model, "check", None)
                if check is not None:
                    check(self.family)
                outcomes = model.score(self.family, missing, seed, jobs, context)
                with closing(outcomes) if isinstance(outcomes, Generator) else nullcontext():
                    for i, accuracy in outcomes:
                        key = missing[i].key
                        known[key] = memory[keys[key]] = accuracy
                        if tell is not None:
                            tell(label, len(known), len(networks))
                self._keep_setup(section, model, context)
            finally:
                close(model)
        return known

    @staticmethod
    def _keep_setup(section: Mapping[str, Any], model: AccuracyModel, context: Context) -> None:
        """Keeps how long the model took to get ready, if it says so: a supernet's training happens once."""
        seconds = getattr(model, "setup_seconds", 0.0)
        if seconds:
            context.memory[_setup_key(section)] = Accuracy(0.0, seconds=seconds)

    def _draw(self, count: int) -> list[Network]:
        """Returns distinct networks at random; those whose output no input reaches are left out: nothing to learn."""
        space = Space(tuple(self.family.genes))
        rng = np.random.default_rng(np.random.SeedSequence(self.spec.seed).spawn(1)[0])
        found: dict[str, Network] = {}
        for _ in range(_MOST_DRAWS * count):
            network = Network(self.spec.space, space.decode(space.sample(rng, 1)[0]))
            graph = getattr(self.family, "graph", None)
            if graph is None or graph(network.choices).connected:
                found.setdefault(network.key, network)
            if len(found) == count:
                return list(found.values())
        raise SpecError(
            f"the space {self.spec.space} has no {count} different networks; ask for fewer",
            file=self.file,
            field="networks",
        )


def load_correlation(path: str | Path, overrides: Sequence[str] = ()) -> Correlation:
    """Reads a file for ``coevo correlate`` and checks all of it.

    Args:
        path: A path, or the name of a file that ships with coevo.
        overrides: ``key.path=value`` each, the value as in YAML.

    Raises:
        SpecError: Something in it is wrong; the text names file, line, field, value and cure.
        DataError: The reference's data are absent.
    """
    document = override(read_yaml(find_data("experiments/correlations", str(path))), overrides)
    spec = document.versioned(SCHEMA).parse(CorrelationFile)
    try:
        space = load_space(spec.space, document.file)
    except SpecError as error:
        raise error if error.line else document.error(("space",), error.problem) from None
    for path_to, section in [("reference", spec.reference), *spec.models.items()]:
        try:
            model = build(section, document.file)
        except SpecError as error:
            where = ("reference",) if path_to == "reference" else ("models", path_to)
            raise document.error(where, error.problem) from None
        if path_to == "reference":
            task = model.task
        elif model.task != task:
            problem = f"is for {model.task}, the reference for {task}; take the same data"
            raise document.error(("models", path_to), problem)
    return Correlation(spec, document.file, build_family(space, task))


def _rung(label: str, accuracies: Sequence[Accuracy], once: float, truth: Array, top_share: float) -> Rung:
    errors = np.array([math.inf if a.violation > 0 else a.error for a in accuracies])
    seconds = float(np.mean([accuracy.seconds for accuracy in accuracies]))
    failed = sum(accuracy.violation > 0 for accuracy in accuracies)
    return Rung(label, errors, agreement(errors, truth, top_share), seconds, once, failed, _fidelity(iter(accuracies)))


def _combined(label: str, parts: Sequence[tuple[Rung, float]], truth: Array, top_share: float) -> Rung:
    """Adds the logarithms of ranks, so that the best of each count most (AZ-NAS: J. Lee, B. Ham, CVPR 2024, eq. 9)."""
    shares = [(weight, (ranks(part.errors) - 0.5) / len(truth)) for part, weight in parts]
    total = np.sum([-weight * np.log1p(-share) for weight, share in shares], axis=0)
    rungs = [part for part, _ in parts]
    return Rung(
        label,
        total,
        agreement(total, truth, top_share),
        sum(part.seconds for part in rungs),
        sum(part.once for part in rungs),
        max(part.failed for part in rungs),
        "ranks of " + ", ".join(part.label if weight == 1 else f"{weight:g} {part.label}" for part, weight in parts),
    )


def _fidelity(accuracies: Any) -> str:
    """What most of the figures are."""
    kinds = [accuracy.fidelity for accuracy in accuracies if accuracy.violation == 0]
    return max(set(kinds), key=kinds.count) if kinds else ""


def _setup(section: Mapping[str, Any], memory: Mapping[str, Accuracy]) -> float:
    """Seconds that a model took to get ready [s]."""
    key = _setup_key(section)
    return memory[key].seconds if key in memory else 0.0


def _setup_key(section: Mapping[str, Any]) -> str:
    return f"once {memory_key(section, '', 0)}"


def _refuse_failures(networks: Sequence[Network], reference: Mapping[str, Accuracy], file: str) -> None:
    for network in networks:
        accuracy = reference[network.key]
        if accuracy.violation > 0:
            problem = f"the reference has no figure of {dict(network.choices)}: {accuracy.reason}"
            raise SpecError(problem, file=file, field="reference")
