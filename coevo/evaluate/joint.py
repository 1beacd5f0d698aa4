"""The joint space: one genome for a network and the accelerator that it runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from coevo.accelerator.machine import Accelerator
from coevo.accelerator.template import Template
from coevo.design import Design, Network
from coevo.errors import SpecError
from coevo.evaluate.cache import Cache
from coevo.evaluate.targets import Targets
from coevo.protocols import NETWORK, NetworkFamily, Task
from coevo.space import Gene, Genomes, Space, join
from coevo.workload import Source, Workload

TEMPLATE = "template"
"""Name of the gene that chooses among several templates."""

_MOST_DRAWS = 100
"""Draws per design wanted after which the space counts as exhausted."""


class JointSpace:
    """Network genes, then accelerator genes.

    Network genes are the family's, named ``net.<gene>``. A template's `vary` fields are named
    ``<template>.<path>``; of several templates, the gene ``template`` chooses one and switches its fields on.

    Args:
        network_space: Name of the network space.
        family: Its networks.
        templates: The accelerators to choose from, at least one, of different names; none if there are ``targets``.
        fixed: Values of all of the family's active genes: the network is then given and has no genes.
        deployment: What the networks are scored for; None for the task they are trained on.
        targets: Machines that every network is for, all of them; nothing of hardware varies then.
        source: Gives `Workload.source` of a network; None if nothing asks for it.

    Raises:
        ValueError: Two templates share a name, there is none, one is named ``net``, or ``fixed`` is not a network of
            the family.
    """

    def __init__(
        self,
        network_space: str,
        family: NetworkFamily,
        templates: Sequence[Template],
        fixed: Mapping[str, Any] | None = None,
        deployment: Task | None = None,
        targets: Targets | None = None,
        source: Callable[[Network], Source] | None = None,
    ) -> None:
        names = [template.name for template in templates]
        if bool(names) == (targets is not None) or len(set(names)) != len(names):
            raise ValueError(f"templates must have different names, at least one; got {', '.join(names) or 'none'}")
        if NETWORK.removesuffix(".") in names:
            raise ValueError(f"a template cannot be named {NETWORK.removesuffix('.')!r}: genes of networks are")
        self.network_space = network_space
        self.family = family
        self.templates = {template.name: template for template in templates}
        self.deployment = deployment
        self.targets = targets
        self._source = source
        networks = Space(tuple(family.genes))
        self.fixed = None if fixed is None else networks.decode(networks.encode(fixed))
        self.space = join(_network_genes(family) if fixed is None else (), _accelerator_genes(templates))
        self._networks = 1 if fixed is not None else networks.size
        self._accelerators: Cache[tuple[object, ...], tuple[Accelerator, str]] = Cache(1 << 14)
        self._workloads: Cache[str, Workload] = Cache(1 << 12)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Number of distinct designs of the ``network``, ``hardware`` and ``joint`` spaces, exact."""
        hardware = 1 if self.targets is not None else sum(template.size for template in self.templates.values())
        return {"network": self._networks, "hardware": hardware, "joint": self._networks * hardware}

    def genome(self, genes: Mapping[str, Any]) -> Genomes:
        """Returns the genome ``(gene,)`` of values by gene name; `design` reads it.

        Raises:
            ValueError: A name or value is unknown, or one is missing.
        """
        return self.space.encode(genes)

    def design(self, genome: Genomes) -> Design:
        """Returns the co-design of one canonical genome ``(gene,)``.

        Raises:
            ValueError: The accelerator's choices, each fine alone, make no machine together.
        """
        design, reason = self.attempt(genome)
        if reason:
            raise ValueError(f"design {design.id} has no accelerator: {reason}")
        return design

    def attempt(self, genome: Genomes) -> tuple[Design, str]:
        """Returns the co-design of one canonical genome ``(gene,)``, and why it cannot be built.

        The reason is empty if all is well; otherwise the accelerator is the template's own machine under the
        choices that were wanted, good for a name and nothing else.
        """
        genes = self.space.decode(genome)
        hardware = {name: value for name, value in genes.items() if not name.startswith(NETWORK)}
        if self.targets is not None:
            machines = tuple(self.targets.machines.items())
            return Design(tuple(genome.tolist()), self._network(genes), machines[0][1], machines), ""
        template = hardware.pop(TEMPLATE, next(iter(self.templates)))
        choices = {name.removeprefix(f"{template}."): value for name, value in hardware.items()}
        accelerator, reason = self._accelerators.get(
            (template, *choices.items()), lambda: _build(self.templates[template], choices)
        )
        return Design(tuple(genome.tolist()), self._network(genes), accelerator), reason

    def network(self, genome: Genomes) -> Network:
        """Returns the network of one canonical genome ``(gene,)``."""
        return self._network(self.space.decode(genome))

    def _network(self, genes: Mapping[str, Any]) -> Network:
        own = {name.removeprefix(NETWORK): value for name, value in genes.items() if name.startswith(NETWORK)}
        return Network(self.network_space, own if self.fixed is None else self.fixed)

    def draw(self, count: int, seed: int) -> list[Design]:
        """Returns different co-designs at random that can be built; fewer if the space has no more (`_MOST_DRAWS`)."""
        rng = np.random.default_rng(seed)
        found: dict[str, Design] = {}
        for _ in range(_MOST_DRAWS):
            for genome in self.space.sample(rng, count):
                design, reason = self.attempt(genome)
                if not reason and len(found) < count:
                    found.setdefault(design.id, design)
            if len(found) == count:
                break
        return list(found.values())

    def workload(self, network: Network) -> Workload:
        """Returns what the accelerators are scored on: the network at the deployment's resolution and classes."""
        return self._workloads.get(network.key, lambda: self._lowered(network))

    def _lowered(self, network: Network) -> Workload:
        workload = self.family.workload(network.choices, self.deployment)
        return workload if self._source is None else replace(workload, source=self._source(network))


def _build(template: Template, choices: Mapping[str, Any]) -> tuple[Accelerator, str]:
    try:
        return template.build(choices), ""
    except SpecError as error:
        wanted = tuple((field.path, choices[field.path]) for field in template.fields)
        return replace(template.build(), choices=wanted), f"{error.field}: {error.problem}"


def _network_genes(family: NetworkFamily) -> tuple[Gene, ...]:
    return tuple(
        replace(gene, name=NETWORK + gene.name, parent=None if gene.parent is None else NETWORK + gene.parent)
        for gene in family.genes
    )


def _accelerator_genes(templates: Sequence[Template]) -> tuple[Gene, ...]:
    several = len(templates) > 1
    names = tuple(template.name for template in templates)
    chooser = (Gene(TEMPLATE, names, ordered=False),) if several else ()
    fields = tuple(
        Gene(f"{template.name}.{field.path}", tuple(field.choices), field.ordered)
        if not several
        else Gene(f"{template.name}.{field.path}", tuple(field.choices), field.ordered, TEMPLATE, (template.name,))
        for template in templates
        for field in template.fields
    )
    return chooser + fields
