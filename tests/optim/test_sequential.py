from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coevo import pareto
from coevo.optim.nsga2 import NSGA2, NSGA2Settings
from coevo.optim.sequential import Sequential, SequentialSettings

from .problem import AnalyticProblem

CORNER = np.array([100.0, 4.0, 6.0])
PROBLEM = AnalyticProblem()
IS_NETWORK = np.array([gene.name.startswith("net.") for gene in PROBLEM.space.genes])


def search(optimizer: Any, trainings: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Genomes, values and violation of what is asked for until so many networks are, and of what follows for free."""
    batches: list[tuple[np.ndarray, ...]] = []
    trained: set[bytes] = set()
    while True:
        genomes = optimizer.ask()
        values, violation = PROBLEM.evaluate(genomes)
        new = {row.tobytes() for row in genomes[:, IS_NETWORK]} - trained
        if len(trained) + len(new) > trainings:
            break
        trained |= new
        optimizer.tell(genomes, values, violation)
        batches.append((genomes, values, violation))
    genomes, values, violation = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return genomes, values, violation


def machines(genomes: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in genomes[:, ~IS_NETWORK]}


def sequential(seed: int, **settings: Any) -> Sequential:
    return Sequential(PROBLEM, SequentialSettings(**settings), np.random.default_rng(seed))


def test_network_first_gives_other_machines_to_the_front_once_the_networks_are_there():
    optimizer = sequential(0, networks=24, error_model="none")
    genomes = optimizer.ask()
    values, violation = PROBLEM.evaluate(genomes)
    optimizer.tell(genomes, values, violation)
    assert len({row.tobytes() for row in genomes[:, IS_NETWORK]}) >= 24 and len(machines(genomes)) == 1
    others = optimizer.ask()
    best = pareto.nondominated(values, violation)
    front = {row.tobytes() for row in genomes[best][:, IS_NETWORK]}
    assert {row.tobytes() for row in others[:, IS_NETWORK]} == front
    assert len(machines(others)) > 3 and not machines(genomes) & machines(others)


def test_a_network_of_the_front_that_is_told_late_gets_other_machines_late_and_once():
    optimizer = sequential(0, networks=24, error_model="none")
    genomes = optimizer.ask()
    values, violation = PROBLEM.evaluate(genomes)
    best = pareto.nondominated(values, violation)
    late = np.flatnonzero(best)[:1]
    early = np.setdiff1d(np.arange(len(genomes)), late)
    optimizer.tell(genomes[early], values[early], violation[early])
    others = optimizer.ask()
    network = genomes[late[0], IS_NETWORK]
    assert not (others[:, IS_NETWORK] == network).all(axis=1).any()
    optimizer.tell(genomes[late], values[late], violation[late])
    after = optimizer.ask()
    assert (after[:, IS_NETWORK] == network).all()
    assert len(machines(after)) > 1
    assert len(optimizer.ask()) == 1


def test_hardware_first_keeps_one_machine_that_costs_less_than_most():
    genomes, values, violation = search(sequential(1, order="hardware_first", error_model="none"), 60)
    assert len(machines(genomes)) == 1 and (violation == 0).mean() > 0.9
    rng = np.random.default_rng(0)
    random = PROBLEM.space.sample(rng, 300)
    same = np.where(IS_NETWORK, genomes[0], random)
    others, broken = PROBLEM.evaluate(PROBLEM.space.canonical(same))
    cheaper = (values[0, 1:].sum() <= others[broken == 0][:, 1:].sum(axis=1)).mean()
    assert cheaper > 0.75


@pytest.mark.slow
def test_joint_search_finds_more_than_hardware_first_with_the_same_trainings():
    _, values, violation = search(sequential(0, order="hardware_first"), 34)
    _, found, broken = search(NSGA2(PROBLEM, NSGA2Settings(), np.random.default_rng(0)), 34)
    one, other = values[violation == 0], found[broken == 0]
    assert pareto.hypervolume(other, CORNER) > pareto.hypervolume(one, CORNER)
