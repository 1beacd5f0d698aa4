"""Starts a run from what other runs have found: designs that its optimiser is told of before its first ask.

Genes are matched by name and value. Networks are taken as they are; a machine is taken where this experiment has its
template, as far as it names the same fields, and otherwise the network goes to this experiment's own machines: so the
front of one target starts the search for another. Hardware is always scored anew. An accuracy is taken over where it is
the same measurement; other networks are trained first, within the budget.

What is taken is copied into the new run's folder when that is made. From then on the other folders are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np

from coevo import pareto
from coevo.accelerator.template import Template
from coevo.design import Accuracy, Design
from coevo.errors import RunError, SpecError
from coevo.evaluate import TEMPLATE, Evaluator, JointSpace
from coevo.protocols import NETWORK
from coevo.space import Genomes
from coevo.study.plan import Plan, versions
from coevo.study.results import read_header
from coevo.study.store import Row, Store
from coevo.study.taken import Taken


@dataclass(frozen=True, eq=False)
class WarmStart:
    """Which designs of which runs are taken.

    Attributes:
        runs: Run folders as the experiment names them.
        near_file: The experiment's file; a relative folder is tried from its folder first.
        designs: The fronts alone, or ``all`` feasible designs.
        most: Designs to take; of more, the best of each run in turn, by rank and crowding distance.
        blame: Makes the error for a run (its place in ``runs``; None for all of them) and a problem.
    """

    runs: tuple[str, ...]
    near_file: str
    designs: Literal["front", "all"]
    most: int
    blame: Callable[[int | None, str], SpecError]

    def take(self, plan: Plan, evaluator: Evaluator) -> tuple[Taken, dict[str, Accuracy]]:
        """Reads the other runs.

        Returns:
            What is taken, and the accuracies that come with it by key.

        Raises:
            SpecError: A folder holds no run or a damaged one, or no design of any can be expressed.
        """
        donors = [self._read(i, plan, evaluator) for i in range(len(self.runs))]
        offers = [[(donor, offer) for offer in donor.offers] for donor in donors]
        turns = chain.from_iterable(zip_longest(*offers))
        chosen: dict[tuple[int, ...], tuple[_Donor, _Offer]] = {}
        for donor, offer in filter(None, turns):
            if len(chosen) < self.most:
                chosen.setdefault(offer.genome, (donor, offer))
        if not chosen:
            why = next((donor.reason for donor in donors if donor.reason), "no design in them is feasible")
            raise self.blame(None, f"nothing in them can be used: {why}")
        accuracies = {offer.key: offer.accuracy for _, offer in chosen.values() if offer.accuracy is not None}
        facts = []
        for donor in donors:
            own = [offer for of, offer in chosen.values() if of is donor]
            known = len({offer.key for offer in own if offer.accuracy is not None})
            facts.append(donor.said(len(own), known if evaluator.trains else None))
        origins = tuple(f"{donor.name}/{offer.id}" for donor, offer in chosen.values())
        return Taken(tuple(chosen), origins, tuple(sorted(accuracies)), "; ".join(facts)), accuracies

    def _read(self, i: int, plan: Plan, evaluator: Evaluator) -> _Donor:
        name = self.runs[i]
        near = Path(self.near_file).parent / name
        folder = near if near.is_dir() else Path(name)
        try:
            store = Store(folder, read_only=True)
            try:
                return _donor(name, store, self.designs, plan, evaluator)
            finally:
                store.close()
        except (RunError, ValueError) as error:
            raise self.blame(i, str(error)) from None


@dataclass(frozen=True)
class _Offer:
    """A design of another run in this one's space, and the accuracy that holds here too."""

    id: str
    genome: tuple[int, ...]
    key: str
    accuracy: Accuracy | None


@dataclass
class _Donor:
    """Another run: how many designs were looked at, and what they are here."""

    name: str
    what: str
    designs: int
    offers: list[_Offer] = field(default_factory=list)
    left_out: int = 0
    reason: str = ""

    def said(self, taken: int, known: int | None) -> str:
        parts = [f"{taken} designs from {self.designs} {self.what} of {self.name}"]
        parts += [f"{self.left_out} left out that this space cannot express"] if self.left_out else []
        parts += [] if known is None else [f"{known} accuracies taken over"]
        return ", ".join(parts)


def _donor(name: str, store: Store, designs: str, plan: Plan, evaluator: Evaluator) -> _Donor:
    _, sources = read_header(store)
    joint, _ = sources.build(store.folder)
    rows = _best_first([row for row in store.rows() if row.violation == 0], designs == "front")
    donor = _Donor(name, "on the front" if designs == "front" else "feasible ones", len(rows))
    accuracies = store.accuracies if _measures_alike(store, plan, evaluator) else {}
    for row in rows:
        try:
            genomes = adopted(plan.joint, joint.design(np.array(row.genome, dtype=np.int64)))
        except ValueError as error:
            donor.left_out += 1
            donor.reason = donor.reason or f"{row.id} of {name}: {error}"
            continue
        for genome in genomes:
            design, _ = plan.joint.attempt(genome)
            key = evaluator.accuracy_key(design)
            known = accuracies.get(key) if row.training == key else None
            # A failed training may do better here; and the time was spent elsewhere.
            held = None if known is None or known.violation > 0 else replace(known, seconds=0.0)
            donor.offers.append(_Offer(row.id, design.genome, key, held))
    return donor


def _measures_alike(store: Store, plan: Plan, evaluator: Evaluator) -> bool:
    """Whether an accuracy under the same key is the same measurement in both runs.

    The key holds the model's settings, the data's demands, the seed and the network's genes, but not what else the
    space says of the network, nor what a model learns from a run.
    """
    then = store.meta
    same_space = then.get("identity", {}).get("network", {}).get("space") == plan.identity["network"]["space"]
    same_code = then.get("made_by", {}).get("coevo") == versions()["coevo"]
    return evaluator.trains and getattr(plan.accuracy, "independent", False) and same_space and same_code


def _best_first(rows: Sequence[Row], front_only: bool) -> list[Row]:
    """Sorts feasible rows by rank, then crowding distance, as that run's objectives have it."""
    if not rows:
        return []
    values = np.array([row.values for row in rows])
    ranks = pareto.ranks(values, np.zeros(len(rows)))
    crowding = pareto.crowding(values, ranks)
    order = np.lexsort((-crowding, ranks))
    return [rows[i] for i in order.tolist() if not front_only or ranks[i] == 0]


def adopted(joint: JointSpace, design: Design) -> list[Genomes]:
    """Returns what a design of another space is in this one, a genome ``(gene,)`` for each machine it is put on.

    If this space has the design's template, it stays on that: fields that both vary keep their value, others are the
    template's own. If not, its network goes to each of this space's templates as they stand.

    Raises:
        ValueError: The network, or the value of a field, is not one of this space; the text says which.
    """
    network = {NETWORK + name: value for name, value in design.network.choices.items()}
    if joint.fixed is not None:
        if dict(design.network.choices) != joint.fixed:
            raise ValueError("the network is fixed here, and another")
        network = {}
    if joint.targets is not None:
        return [joint.genome(network)]
    template = joint.templates.get(design.accelerator.name)
    if template is not None:
        choices = dict(design.accelerator.choices)
        return [joint.genome(network | dict(_machine(joint, template, choices)))]
    return [joint.genome(network | dict(_machine(joint, each, {}))) for each in joint.templates.values()]


def _machine(joint: JointSpace, template: Template, choices: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The genes of a template's machine: fields as chosen, else as near to the template's own as their choices are."""
    if len(joint.templates) > 1:
        yield TEMPLATE, template.name
    own = dict(template.build().choices)
    for varied in template.fields:
        if varied.path in choices:
            value = choices[varied.path]
        elif varied.ordered and isinstance(start := own[varied.path], int | float):
            value = min(varied.choices, key=lambda choice, start=start: abs(choice - start))  # type: ignore[misc]
        else:
            value = own[varied.path] if own[varied.path] in varied.choices else varied.choices[0]
        yield f"{template.name}.{varied.path}", value
