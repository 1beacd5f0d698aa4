"""Search spaces: finite lists of choices (`Gene`), and genomes that index into them.

A genome is ``int64 (gene,)``. A gene may be active only while its parent gene takes certain values (block 4 of
a stage only if the stage is that deep; a template's fields only if that template is chosen). `Space.canonical`
zeroes inactive genes, so that equal designs have equal genomes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Genomes = NDArray[np.int64]
"""Genomes, ``(batch, gene)``, or one, ``(gene,)``."""


@dataclass(frozen=True)
class Gene:
    """One decision.

    Attributes:
        name: Dotted name, unique in its space, e.g. ``stage2.kernel``.
        choices: The values, at least one, all different; scalars or strings.
        ordered: Whether neighbouring choices are alike (sizes), or not (operators).
        parent: Name of the gene that switches this one on, which must come earlier; None if always on.
        when: The parent's values that switch it on.
    """

    name: str
    choices: tuple[Any, ...]
    ordered: bool = True
    parent: str | None = None
    when: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if not self.choices or len(set(self.choices)) != len(self.choices):
            raise ValueError(f"gene {self.name}: choices must be different and at least one, got {self.choices}")


@dataclass(frozen=True)
class Space:
    """A finite search space.

    Attributes:
        genes: In the order of the genome's axis; a parent comes before its children.
    """

    genes: tuple[Gene, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for gene in self.genes:
            if gene.name in seen:
                raise ValueError(f"gene {gene.name} stands twice in the space")
            if gene.parent is not None and gene.parent not in seen:
                raise ValueError(f"gene {gene.name}: its parent {gene.parent} must come before it")
            seen.add(gene.name)

    @cached_property
    def cardinalities(self) -> NDArray[np.int64]:
        """Number of choices of each gene, ``(gene,)``."""
        return np.array([len(gene.choices) for gene in self.genes], dtype=np.int64)

    @cached_property
    def ordered(self) -> NDArray[np.bool_]:
        """Whether each gene's choices stand in an order that means something ``(gene,)``."""
        return np.array([gene.ordered for gene in self.genes], dtype=np.bool_)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {gene.name: i for i, gene in enumerate(self.genes)}

    @cached_property
    def _switches(self) -> tuple[tuple[int, int, NDArray[np.bool_]], ...]:
        """(gene, parent, which of the parent's choices switch it on) of every conditional gene."""
        switches = []
        for i, gene in enumerate(self.genes):
            if gene.parent is not None:
                parent = self._index[gene.parent]
                on = np.array([choice in gene.when for choice in self.genes[parent].choices])
                switches.append((i, parent, on))
        return tuple(switches)

    def active(self, genomes: Genomes) -> NDArray[np.bool_]:
        """Says which genes take part, ``(batch, gene)`` for genomes ``(batch, gene)``."""
        on = np.ones(genomes.shape, dtype=np.bool_)
        for gene, parent, when in self._switches:
            on[:, gene] = on[:, parent] & when[genomes[:, parent]]
        return on

    def canonical(self, genomes: Genomes) -> Genomes:
        """Zeroes inactive genes, ``(batch, gene)``; equal designs then have equal rows."""
        self.check(genomes)
        return np.where(self.active(genomes), genomes, 0)

    def check(self, genomes: Genomes) -> None:
        """Raises ValueError unless ``genomes`` is ``int64 (batch, gene)`` and every index is in range."""
        if genomes.ndim != 2 or genomes.shape[1] != len(self.genes) or genomes.dtype != np.int64:
            raise ValueError(
                f"genomes must be int64 (batch, gene) = (batch, {len(self.genes)}); got {genomes.dtype} {genomes.shape}"
            )
        if genomes.size and (genomes.min() < 0 or bool((genomes >= self.cardinalities).any())):
            raise ValueError("a genome has an index outside its gene's choices")

    def sample(self, rng: np.random.Generator, count: int) -> Genomes:
        """Draws canonical genomes ``(count, gene)``, each gene uniform over its choices; repeats may occur."""
        return self.canonical(rng.integers(0, self.cardinalities, size=(count, len(self.genes)), dtype=np.int64))

    def decode(self, genome: Genomes) -> dict[str, Any]:
        """Returns the chosen value of every *active* gene of one genome ``(gene,)``, by name."""
        on = self.active(genome[None, :])[0]
        return {gene.name: gene.choices[i] for gene, i, ok in zip(self.genes, genome, on, strict=True) if ok}

    def encode(self, values: Mapping[str, Any]) -> Genomes:
        """Returns the canonical genome ``(gene,)`` of values by gene name; inactive genes may be left out.

        Raises:
            ValueError: An active gene has no value, a value is not among the choices, or a name is unknown.
        """
        unknown = set(values) - set(self._index)
        if unknown:
            raise ValueError(f"no such gene: {', '.join(sorted(unknown))}")
        genome = np.zeros(len(self.genes), dtype=np.int64)
        for i, gene in enumerate(self.genes):
            if gene.name in values:
                if values[gene.name] not in gene.choices:
                    raise ValueError(f"{gene.name}: {values[gene.name]!r} is not one of {list(gene.choices)}")
                genome[i] = gene.choices.index(values[gene.name])
        canonical = self.canonical(genome[None, :])
        missing = [
            g.name for g, on in zip(self.genes, self.active(canonical)[0], strict=True) if on and g.name not in values
        ]
        if missing:
            raise ValueError(f"no value for {', '.join(missing)}")
        return np.asarray(canonical[0], dtype=np.int64)

    def part(self, chosen: NDArray[np.bool_]) -> Space:
        """Returns the space of some genes ``(gene,)``; none of them may have its parent among the others."""
        return Space(tuple(gene for gene, own in zip(self.genes, chosen, strict=True) if own))

    @cached_property
    def size(self) -> int:
        """Number of distinct designs (canonical genomes), exact."""
        children: dict[str | None, list[Gene]] = {}
        for gene in self.genes:
            children.setdefault(gene.parent, []).append(gene)

        def count(gene: Gene) -> int:
            return sum(
                math.prod(count(child) for child in children.get(gene.name, ()) if choice in child.when)
                for choice in gene.choices
            )

        return math.prod(count(gene) for gene in children.get(None, ()))


def join(*parts: Sequence[Gene]) -> Space:
    """Returns the space whose genome is the parts' genes, one after the other."""
    return Space(tuple(gene for part in parts for gene in part))
