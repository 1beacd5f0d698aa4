"""Makes a lookup table of the layers of a space on its accelerators, by the experiment's own cost model.

What is known stands in ``<table>.part`` until the table is whole, so that a build that was stopped goes on:
measurements are slow and do not repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np

from coevo.accelerator.machine import Accelerator
from coevo.cost.figures import Figures
from coevo.cost.layer_table import refuse_unwritable, write_table
from coevo.design import Network, digest
from coevo.errors import DataError, RunError, SpecError
from coevo.evaluate import JointSpace
from coevo.experiment import Experiment
from coevo.networks.single import layer_source
from coevo.optim.unseen import successor
from coevo.space import Genomes, Space
from coevo.study.costs import KeptFigures, attach, facts_of
from coevo.study.plan import versions
from coevo.workload import Layer, Workload

ALL = 20_000
"""A space of no more networks is looked through whole."""

PATIENCE = 5_000
"""In a larger one, networks are drawn until so many in a row had no new layer."""

PART = ".part"
"""What the file beside the table ends in that holds what is known so far."""

_BATCH = 256

_AT_A_TIME = 16
"""Layers per job between two looks at the file; what is measured is kept one by one all the same."""


def build_table(
    experiment: Experiment,
    path: Path,
    most_machines: int,
    jobs: int = 1,
    tell: Callable[[str, int, int], None] | None = None,
) -> str:
    """Scores every distinct layer of the networks on every accelerator, and writes the table.

    Args:
        experiment: Its cost model is asked.
        path: Of the table.
        most_machines: Accelerators up to which that is done.
        jobs: Processes to use; changes no figure that is computed.
        tell: Called with (accelerator, figures known, figures wanted) as they come, one of each layer on each
            accelerator.

    Returns:
        What was done, in one line.

    Raises:
        SpecError: There are too many accelerators, or the cost model is a lookup table itself.
        DataError: The table cannot be written, or what a build before kept is damaged.
    """
    name = str(experiment.plan.identity["cost"]["name"])
    if name in ("lut", "device_table"):
        problem = f"is {name}: a table is made from another model; add --set cost='{{name: analytical}}'"
        raise SpecError(problem, file=experiment.file, field="cost")
    refuse_unwritable(path)
    machines = _machines(experiment.joint, most_machines, experiment.file)
    layers, networks, whole = _layers(experiment.joint)
    wanted = [(machine, layer) for machine in machines for layer in layers]
    kept = _Kept(experiment, path)
    before = kept.scored(wanted)
    for start in range(0, len(wanted), _AT_A_TIME * jobs):
        kept.score(wanted[start : start + _AT_A_TIME * jobs], jobs)
        if tell is not None:
            done = min(start + _AT_A_TIME * jobs, len(wanted))
            tell(wanted[done - 1][0].name, done, len(wanted))
    seen = f"all {networks:,} networks"
    if not whole:
        seen = f"{networks:,} networks drawn, the last {PATIENCE:,} without a new layer"
    facts = {
        "space": experiment.joint.network_space,
        "layers from": seen,
        "cost model": experiment.plan.header.facts["cost model"],
        **facts_of(experiment.plan.cost),
        "made": f"{datetime.now(UTC):%Y-%m-%d}, coevo {versions()['coevo']}",
    }
    write_table(path, facts, ((machine, layer, kept.figures(machine, layer)) for machine, layer in wanted))
    kept.forget()
    went_on = f"; {before:,} figures kept from a build that was stopped" if before else ""
    return f"{len(layers):,} layers ({seen}) x {len(machines):,} accelerators{went_on}"


class _Kept:
    """Figures of layers on accelerators, each kept beside the table as soon as it is known; so is what the model keeps.

    Args:
        experiment: Its cost model is asked. Of another model, or another coevo, nothing is taken.
        path: Of the table.

    Raises:
        DataError: What a build before kept is damaged.
    """

    def __init__(self, experiment: Experiment, path: Path) -> None:
        plan = experiment.plan
        self._cost = plan.cost
        self._made_by = [plan.identity["cost"], plan.identity["plugins"], plan.identity.get("cost_files"), versions()]
        self._file = path.with_name(path.name + PART)
        self._log = KeptFigures(path.parent, name=self._file.name)
        try:
            len(self._log)
        except RunError:
            raise DataError(f"{self._file}: is damaged; delete it, and the table is made from the start") from None
        attach(plan.cost, plan.joint, plan.near_file, self._log)

    def scored(self, pairs: Sequence[tuple[Accelerator, Layer]]) -> int:
        """Returns how many of the pairs are known."""
        return sum(self._key(*pair) in self._log for pair in pairs)

    def score(self, pairs: Sequence[tuple[Accelerator, Layer]], jobs: int) -> None:
        """Asks the model for those of the pairs that are not known."""
        new = [pair for pair in pairs if self._key(*pair) not in self._log]
        costs = self._cost.evaluate([(_alone(layer), machine) for machine, layer in new], jobs)
        for pair, cost in zip(new, costs, strict=True):
            self._log[self._key(*pair)] = Figures.of(cost).to_data()

    def figures(self, machine: Accelerator, layer: Layer) -> Figures:
        """Returns what is known of a pair."""
        return Figures.from_data(self._log[self._key(machine, layer)])

    def forget(self) -> None:
        """Removes the file."""
        self._file.unlink(missing_ok=True)

    def _key(self, machine: Accelerator, layer: Layer) -> str:
        return digest([self._made_by, machine.key, layer.shape_key])


def _alone(layer: Layer) -> Workload:
    return Workload(layer.name, (replace(layer, follows=False),), source=layer_source(layer))


def _machines(joint: JointSpace, most: int, file: str) -> list[Accelerator]:
    """Returns all accelerators of a space, each of different figures once; those that cannot be built are left out."""
    if joint.targets is not None:
        return list(joint.targets.machines.values())
    count = joint.sizes["hardware"]
    if count > most:
        problem = f"make {count:,} different ones; let fewer fields vary, or allow more by --machines"
        raise SpecError(problem, file=file, field="accelerators")
    found: dict[str, Accelerator] = {}
    for template in joint.templates.values():
        for values in product(*(field.choices for field in template.fields)):
            try:
                machine = template.build({f.path: v for f, v in zip(template.fields, values, strict=True)})
            except SpecError:  # choices that are fine alone and make no machine together
                continue
            found.setdefault(machine.key, machine)
    return list(found.values())


def _layers(joint: JointSpace) -> tuple[list[Layer], int, bool]:
    """Returns the distinct layers of a space's networks, how many were looked at, and whether those are all."""
    found: dict[object, Layer] = {}
    looked = last = 0
    whole = joint.sizes["network"] <= ALL
    for network in _networks(joint, whole):
        looked += 1
        for layer, _ in joint.workload(network).repeats:
            if layer.shape_key not in found:
                found[layer.shape_key] = layer
                last = looked
        if not whole and looked - last >= PATIENCE:
            break
    return list(found.values()), looked, whole


def _networks(joint: JointSpace, whole: bool) -> Iterator[Network]:
    """Yields all networks, or such at random without an end."""
    if joint.fixed is not None:
        yield Network(joint.network_space, joint.fixed)
        return
    space = Space(tuple(joint.family.genes))
    if whole:
        yield from (Network(joint.network_space, space.decode(genome)) for genome in _genomes(space))
        return
    rng = np.random.default_rng(0)
    while True:
        yield from (Network(joint.network_space, space.decode(genome)) for genome in space.sample(rng, _BATCH))


def _genomes(space: Space) -> Iterator[Genomes]:
    """Yields all canonical genomes ``(gene,)``, each once."""
    genome = np.zeros((1, len(space.genes)), dtype=np.int64)
    for _ in range(space.size):
        yield genome[0]
        genome = successor(space, genome)
