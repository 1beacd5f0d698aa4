from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from coevo import pareto
from coevo.optim.contained import contained
from coevo.optim.controller import Controller
from coevo.optim.random import RandomSearch
from coevo.optim.ranges import Range
from coevo.optim.reinforce import REDRAWS, Reinforce, ReinforceSettings
from coevo.optim.scalarization import REWARDS, SHARPNESS
from coevo.space import Gene, Space

from .problem import AnalyticProblem

SCALED = np.array([[0.0, 0.5, 1.0]])
WEIGHTS = np.array([[0.2, 0.3, 0.5]])


def search(plugin: Any, problem: AnalyticProblem, budget: int, seed: int, **settings: Any) -> tuple[np.ndarray, ...]:
    """Genomes, values and violation of everything evaluated."""
    optimizer = plugin(problem, plugin.Settings(**settings), np.random.default_rng(seed))
    batches: list[tuple[np.ndarray, ...]] = []
    while sum(len(batch[0]) for batch in batches) < budget:
        genomes = optimizer.ask()
        values, violation = problem.evaluate(genomes)
        optimizer.tell(genomes, values, violation)
        batches.append((genomes, values, violation))
    return tuple(np.concatenate(parts)[:budget] for parts in zip(*batches, strict=True))


def volume(values: np.ndarray, violation: np.ndarray) -> float:
    return float(pareto.hypervolume(values[violation == 0], np.array([100.0, 4.0, 6.0])))


# -- the search ------------------------------------------------------------------------------------------------


def test_beats_random_search_at_equal_budget_in_four_of_five_seeds():
    wins = 0
    for seed in range(5):
        ours, random = (
            volume(*search(plugin, AnalyticProblem(), 200, seed)[1:]) for plugin in (Reinforce, RandomSearch)
        )
        wins += ours > random
    assert wins >= 4


def test_a_batch_told_in_parts_teaches_once_it_is_told_and_what_it_teaches_whole():
    problem = AnalyticProblem()
    whole, parts = (Reinforce(problem, ReinforceSettings(), np.random.default_rng(3)) for _ in range(2))
    genomes = whole.ask()
    np.testing.assert_array_equal(parts.ask(), genomes)
    values, violation = problem.evaluate(genomes)
    for optimizer in (whole, parts):  # the range that rewards are scaled to is known beforehand
        foreign = problem.space.sample(np.random.default_rng(0), 200)
        optimizer.tell(foreign, *problem.evaluate(foreign))
    before = [parameter.detach().clone() for parameter in parts._policy.parameters()]
    whole.tell(genomes, values, violation)
    for i in range(len(genomes)):
        assert all(torch.equal(a, b) for a, b in zip(before, parts._policy.parameters(), strict=True))
        parts.tell(genomes[i : i + 1], values[i : i + 1], violation[i : i + 1])
    np.testing.assert_array_equal(whole.ask(), parts.ask())


def test_one_policy_serves_every_preference():
    # One objective is the gene, the other its complement: under all weight on one, the policy ends at one end.
    class Tradeoff(AnalyticProblem):
        def evaluate(self, genomes):
            x = genomes[:, :1].astype(float)
            return np.column_stack([x, 9 - x, np.zeros(len(x))]), np.zeros(len(x))

        def hardware(self, genomes):
            return self.evaluate(genomes)

    genes = (Gene("net.x", tuple(range(10))), *(Gene(f"net.idle{i}", tuple(range(10))) for i in range(4)))
    problem = Tradeoff(genes=genes)
    optimizer = Reinforce(problem, ReinforceSettings(batch=30, entropy=0.0), np.random.default_rng(0))
    for _ in range(60):
        genomes = optimizer.ask()
        optimizer.tell(genomes, *problem.evaluate(genomes))
    rng = np.random.default_rng(1)
    mean = [optimizer._policy.sample(np.tile(ends, (200, 1)), rng)[:, 0].mean() for ends in np.eye(3)[:2]]
    assert mean[0] < 3 and mean[1] > 6


def test_hardware_teaches_the_policy_what_cannot_be_built_before_anything_is_told():
    problem = AnalyticProblem(max_area=300.0)
    optimizer = Reinforce(problem, ReinforceSettings(), np.random.default_rng(0))
    weights = np.random.default_rng(1).dirichlet(np.ones(3), size=300)

    def share() -> float:
        return float((problem.evaluate(optimizer._policy.sample(weights, np.random.default_rng(2)))[1] > 0).mean())

    before = share()
    for _ in range(20):
        optimizer.ask()
    assert before > 0.5
    assert share() < before - 0.2


def test_the_hardware_screen_asks_for_less_that_cannot_be_built_and_is_bounded():
    screened, plain = AnalyticProblem(max_area=300.0), AnalyticProblem(max_area=300.0)
    assert (search(Reinforce, screened, 90, seed=1)[2] > 0).mean() < 0.1
    assert (search(Reinforce, plain, 90, seed=1, hardware_screen=False)[2] > 0).mean() > 0.3
    assert plain.scored == 0
    assert screened.scored <= 90 * REDRAWS


def test_a_design_that_it_did_not_propose_changes_the_range_of_rewards_only():
    problem = AnalyticProblem()
    optimizer = Reinforce(problem, ReinforceSettings(), np.random.default_rng(0))
    before = [parameter.detach().clone() for parameter in optimizer._policy.parameters()]
    foreign = problem.space.sample(np.random.default_rng(5), 20)
    optimizer.tell(foreign, *problem.evaluate(foreign))
    assert all(torch.equal(a, b) for a, b in zip(before, optimizer._policy.parameters(), strict=True))
    assert optimizer._range.known


def test_the_global_generator_and_threads_of_torch_stay_as_they_were():
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    search(Reinforce, AnalyticProblem(), 40, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_an_advantage_is_the_reward_less_that_of_the_average_design_under_the_same_weights():
    problem = AnalyticProblem()
    optimizer = Reinforce(problem, ReinforceSettings(), np.random.default_rng(0))
    values = np.array([[1.0, 0.0, 0.0], [np.e**2, -1.0, -1.0], [0.0, 0.0, 0.0]])
    violation = np.array([0.0, 0.0, 2.0])
    optimizer._range.add(values[:2])
    weights = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    # Scaled: rows (0, 1, 1) and (1, 0, 0); the average is ln((1 + e^2) / 2) / 2 of the first range, 1/2 of the others.
    average = np.log((1 + np.e**2) / 2) / 2
    wanted = np.array([0 + average, -1 + average, -1 + 0.5])
    np.testing.assert_allclose(optimizer._judge(values, violation, weights), wanted / np.sqrt((wanted**2).mean()))


# -- the rewards -----------------------------------------------------------------------------------------------


def hand(reward: str) -> float:
    """Of scaled objectives 0, 1/2 and 1 under weights 0.2, 0.3 and 0.5."""
    if reward == "exponential":
        a, b, c = np.exp(0.4) - 1, np.exp(0.6) - 1, np.exp(1.0) - 1
        return float(-(a + b * np.e + c * np.e**2) / ((a + b + c) * np.e**2))
    return {"weighted_sum": -0.65, "min_max": -0.5, "weighted_product": float(np.exp(-0.65) - 1)}[reward]


@pytest.mark.parametrize("reward", REWARDS)
class TestEveryReward:
    def test_is_what_the_formula_says_by_hand(self, reward):
        assert SHARPNESS == 2.0
        np.testing.assert_allclose(REWARDS[reward](SCALED, WEIGHTS), [hand(reward)])

    def test_grows_where_an_objective_with_weight_improves_most(self, reward):
        weights = np.array([[0.1, 0.1, 0.8]])
        one, other = (REWARDS[reward](np.array([scaled]), weights)[0] for scaled in ([1.0, 1.0, 0.2], [0.2, 0.2, 1.0]))
        assert -1 <= other < one <= 0


def test_the_weighted_product_is_mnasnets_ratio_to_the_best_told():
    told = np.array([[2.0, 10.0], [8.0, 1000.0]])
    scale = Range(2)
    scale.add(told)
    values, weights = np.array([[4.0, 100.0]]), np.array([[0.25, 0.75]])
    exponents = weights[0] / np.log([4.0, 100.0])
    product = (4.0 / 2.0) ** -exponents[0] * (100.0 / 10.0) ** -exponents[1]
    np.testing.assert_allclose(REWARDS["weighted_product"](scale.scaled(values), weights), [product - 1])


def test_the_range_takes_logarithms_of_what_was_always_positive_and_knows_a_constant():
    scale = Range(3)
    assert not scale.known
    scale.add(np.array([[1.0, -1.0, 5.0], [100.0, 3.0, 5.0]]))
    np.testing.assert_allclose(scale.scaled(np.array([[10.0, 1.0, 5.0]])), [[0.5, 0.5, 0.0]])
    scale.add(np.empty((0, 3)))
    np.testing.assert_allclose(scale.scaled(np.array([[10.0, 1.0, 5.0]])), [[0.5, 0.5, 0.0]])


# -- the controller --------------------------------------------------------------------------------------------


def test_likelihoods_of_all_genomes_of_a_small_space_add_up_to_one():
    space = Space(
        (Gene("net.depth", (1, 2, 3)), Gene("net.k", (3, 5), parent="net.depth", when=(2, 3)), Gene("chip", (1, 2)))
    )
    everything = np.unique(space.canonical(np.stack(np.meshgrid([0, 1, 2], [0, 1], [0, 1]), -1).reshape(-1, 3)), axis=0)
    assert len(everything) == space.size == 10
    with contained(np.random.default_rng(0)):
        policy = Controller(space, 2, 8)
        likelihood, entropy = policy(everything, np.tile([0.3, 0.7], (10, 1)))
    np.testing.assert_allclose(likelihood.exp().sum().item(), 1.0)
    assert (entropy > 0).all() and (entropy.detach().numpy() <= np.log(3)).all()


def test_draws_as_often_as_the_likelihood_says():
    space = Space((Gene("net.a", (1, 2, 3)), Gene("net.b", (1, 2), parent="net.a", when=(3,))))
    with contained(np.random.default_rng(0)):
        policy = Controller(space, 1, 8)
    drawn = policy.sample(np.ones((20000, 1)), np.random.default_rng(1))
    rows, counts = np.unique(drawn, axis=0, return_counts=True)
    np.testing.assert_array_equal(rows, [[0, 0], [1, 0], [2, 0], [2, 1]])
    np.testing.assert_allclose(counts / 20000, policy(rows, np.ones((4, 1)))[0].exp().detach().numpy(), atol=0.015)


@pytest.mark.parametrize("wrong", [{"reward": "sum"}, {"baseline_decay": 1.0}, {"infeasible": 0.0}, {"batch": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        ReinforceSettings(**wrong)


def test_the_module_is_named_without_torch_being_loaded():
    import subprocess

    line = "import sys, coevo.optim.reinforce, coevo.optim.bayes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", line], check=False).returncode == 0
