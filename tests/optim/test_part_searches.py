from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coevo.optim.constrained import Constrained, ConstrainedSettings
from coevo.optim.derived import Bounded, Narrowed, OneMachine
from coevo.optim.pruned import Pruned, PrunedSettings, kept_choices

from .problem import AnalyticProblem

PROBLEM = AnalyticProblem()
IS_NETWORK = np.array([gene.name.startswith("net.") for gene in PROBLEM.space.genes])
NAMES = [gene.name for gene in PROBLEM.space.genes]


def designs(count: int = 200) -> np.ndarray:
    return PROBLEM.space.sample(np.random.default_rng(0), count)


def play(optimizer: Any, rounds: int) -> list[np.ndarray]:
    asked = []
    for _ in range(rounds):
        genomes = optimizer.ask()
        optimizer.tell(genomes, *PROBLEM.evaluate(genomes))
        asked.append(genomes)
    return asked


def narrow() -> Narrowed:
    kept = [np.arange(len(gene.choices)) for gene in PROBLEM.space.genes]
    kept[NAMES.index("net.stage0.depth")] = np.array([0, 2])
    kept[NAMES.index("net.stage1.kernel1")] = np.array([1])
    kept[NAMES.index("net.stage1.kernel2")] = np.array([1, 2])
    return Narrowed(PROBLEM, kept)


@pytest.mark.parametrize(
    "part", [narrow(), OneMachine(PROBLEM, designs(1)[0]), Bounded(PROBLEM, 0, np.array([0.0, 1.5, 2.5]))]
)
def test_a_parts_genomes_are_the_same_designs_there_and_back(part: Any) -> None:
    own = part.space.sample(np.random.default_rng(1), 100)
    whole = part.joined(own)
    np.testing.assert_array_equal(PROBLEM.space.canonical(whole), whole)
    back, here = part.parted(whole)
    assert here.all()
    np.testing.assert_array_equal(back, own)
    values, violation = PROBLEM.evaluate(whole)
    _, judged = part.judged(values, violation)
    np.testing.assert_allclose(part.hardware(own)[1], judged)


def test_designs_with_a_dropped_choice_are_no_part_of_a_narrowed_space() -> None:
    whole = designs()
    _, here = narrow().parted(whole)
    active = PROBLEM.space.active(whole)
    second = NAMES.index("net.stage1.kernel2")
    held = (
        (whole[:, NAMES.index("net.stage0.depth")] != 1)
        & (whole[:, NAMES.index("net.stage1.kernel1")] == 1)
        & (~active[:, second] | (whole[:, second] != 0))
    )
    assert 0 < held.sum() < len(whole)
    np.testing.assert_array_equal(here, held)


def test_bounds_count_as_constraints_by_their_relative_excess() -> None:
    part = Bounded(PROBLEM, 0, np.array([-1.0, 2.0, -4.0]))
    values = np.array([[30.0, 2.0, -4.0], [20.0, 3.0, -4.0], [10.0, 3.0, -2.0], [np.nan, np.inf, 0.0]])
    left, violation = part.judged(values, np.array([0.0, 0.0, 0.0, 0.7]))
    np.testing.assert_array_equal(left[:3, 0], [30, 20, 10])
    np.testing.assert_allclose(violation, [0, 0.5, 1.0, 0.7])


def test_constrained_search_asks_within_one_budget_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = Constrained(PROBLEM, ConstrainedSettings(budgets=3, error_model="none"), np.random.default_rng(0))
    budgets = optimizer._budgets()
    assert budgets.shape == (3, 3) and (np.diff(budgets[:, 1:], axis=0) > 0).all()
    asked: list[tuple[int, np.ndarray]] = []
    for i, search in enumerate(optimizer.searches):
        monkeypatch.setattr(search, "ask", lambda i=i, ask=search.ask: asked.append((i, ask())) or asked[-1][1])
    play(optimizer, 6)
    assert [i for i, _ in asked] == [0, 1, 2, 0, 1, 2]
    beyond = [optimizer.searches[i].part.hardware(genomes)[1] for i, genomes in asked]
    assert all((of == 0).mean() > 0.9 for (i, _), of in zip(asked, beyond, strict=True) if i > 0)
    tightest, loosest = (optimizer.searches[i].part.hardware(asked[2][1])[1] for i in (0, 2))
    assert (tightest > 0).any() and (tightest >= loosest).all()


def test_pruning_drops_the_dearest_choices_of_networks_and_nothing_else() -> None:
    kept = kept_choices(PROBLEM, 0.34, np.random.default_rng(0))
    for gene, left, own in zip(PROBLEM.space.genes, kept, IS_NETWORK, strict=True):
        dropped = set(range(len(gene.choices))) - set(left.tolist())
        if not own:
            assert not dropped
        elif gene.name.endswith(("width", "kernel1")):
            assert dropped == set(range(len(gene.choices) - len(dropped), len(gene.choices))) != set()
    optimizer = Pruned(PROBLEM, PrunedSettings(drop=0.34, error_model="none"), np.random.default_rng(0))
    rows = np.concatenate(play(optimizer, 3))
    for column, left in zip(rows.T, kept, strict=True):
        assert set(column.tolist()) <= {*left.tolist(), 0}
