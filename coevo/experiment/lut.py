"""Makes a lookup table of the layers of a space on its accelerators, by the experiment's own cost model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np

from coevo.accelerator.machine import Accelerator
from coevo.cost.figures import Figures
from coevo.cost.layer_table import refuse_unwritable, write_table
from coevo.design import Network
from coevo.errors import SpecError
from coevo.evaluate import JointSpace
from coevo.experiment import Experiment
from coevo.networks.single import layer_source
from coevo.optim.unseen import successor
from coevo.space import Genomes, Space
from coevo.study.plan import versions
from coevo.workload import Layer, Workload

ALL = 20_000
"""A space of no more networks is looked through whole."""

PATIENCE = 5_000
"""In a larger one, networks are drawn until so many in a row had no new layer."""

_BATCH = 256


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
        tell: Called with (accelerator, accelerators done, accelerators) after each.

    Returns:
        What was done, in one line.

    Raises:
        SpecError: There are too many accelerators, or the cost model is a lookup table itself.
        DataError: The table cannot be written.
    """
    name = str(experiment.plan.identity["cost"]["name"])
    if name in ("lut", "device_table"):
        problem = f"is {name}: a table is made from another model; add --set cost='{{name: analytical}}'"
        raise SpecError(problem, file=experiment.file, field="cost")
    refuse_unwritable(path)
    machines = _machines(experiment.joint, most_machines, experiment.file)
    layers, networks, whole = _layers(experiment.joint)
    rows: list[tuple[Accelerator, Layer, Figures]] = []
    for done, machine in enumerate(machines, 1):
        pairs = [(_alone(layer), machine) for layer in layers]
        costs = experiment.plan.cost.evaluate(pairs, jobs)
        rows += [(machine, x, Figures.of(cost)) for x, cost in zip(layers, costs, strict=True)]
        if tell is not None:
            tell(machine.name, done, len(machines))
    seen = f"all {networks:,} networks"
    if not whole:
        seen = f"{networks:,} networks drawn, the last {PATIENCE:,} without a new layer"
    facts = {
        "space": experiment.joint.network_space,
        "layers from": seen,
        "cost model": experiment.plan.header.facts["cost model"],
        "made": f"{datetime.now(UTC):%Y-%m-%d}, coevo {versions()['coevo']}",
    }
    write_table(path, facts, rows)
    return f"{len(layers):,} layers ({seen}) x {len(machines):,} accelerators"


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
