from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from coevo import pareto
from coevo.errors import BackendError
from coevo.library import list_plugins
from coevo.optim.bayes import Bayes, BayesSettings, encode, infeasibility
from coevo.optim.contained import contained
from coevo.optim.expected_gain import REFERENCE, RHO, HypervolumeGain, WeightedGain, suggest
from coevo.optim.random import RandomSearch
from coevo.space import Gene, Space

from .problem import AnalyticProblem

CHEAP: dict[str, Any] = {"pool": 128, "draws": 16}


def volume(plugin: Any, budget: int, seed: int, **settings: Any) -> float:
    problem = AnalyticProblem()
    optimizer = plugin(problem, plugin.Settings(**settings), np.random.default_rng(seed))
    values, violation = np.empty((0, 3)), np.empty(0)
    while len(values) < budget:
        genomes = optimizer.ask()
        told = problem.evaluate(genomes)
        optimizer.tell(genomes, *told)
        values, violation = np.concatenate([values, told[0]]), np.append(violation, told[1])
    feasible = violation[:budget] == 0
    return float(pareto.hypervolume(values[:budget][feasible], np.array([100.0, 4.0, 6.0])))


# -- the search ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_hardware_says_helps_and_what_is_learnt_beats_random_in_both_of_two_seeds():
    for seed in range(2):
        known, learnt = (volume(Bayes, 60, seed, hardware=hardware, pool=512) for hardware in ("known", "learnt"))
        assert known > learnt > volume(RandomSearch, 60, seed)


def test_parego_beats_random_in_each_of_two_seeds():
    for seed in range(2):
        assert volume(Bayes, 60, seed, acquisition="qparego", **CHEAP) > volume(RandomSearch, 60, seed)


def test_hardware_that_is_learnt_is_never_asked_and_known_hardware_rules_out_what_cannot_be_built():
    for hardware in ("learnt", "known"):
        problem = AnalyticProblem(max_area=300.0)
        optimizer = Bayes(problem, BayesSettings(hardware=hardware, **CHEAP), np.random.default_rng(0))
        violated = []
        for _ in range(6):
            genomes = optimizer.ask()
            values, violation = problem.evaluate(genomes)
            optimizer.tell(genomes, values, violation)
            violated.append(violation > 0)
        if hardware == "learnt":
            assert problem.scored == 0
            assert np.concatenate(violated[:3]).any()
        else:
            assert problem.scored > 0
            assert not np.concatenate(violated).any()


def test_a_search_with_nothing_left_to_learn_takes_hardware_at_its_word():
    class Known(AnalyticProblem):
        def hardware(self, genomes):
            return self.evaluate(genomes)

    problem = Known()
    optimizer = Bayes(problem, BayesSettings(**CHEAP), np.random.default_rng(0))
    for _ in range(4):
        genomes = optimizer.ask()
        assert len(genomes) > 0
        optimizer.tell(genomes, *problem.evaluate(genomes))
    assert optimizer._surrogates._kernels == {}


def test_learns_which_trainings_come_to_nothing_although_hardware_allows_them():
    class Fails(AnalyticProblem):
        def evaluate(self, genomes):
            values, violation = super().evaluate(genomes)
            return values, violation + (genomes[:, 0] == 2)

        def hardware(self, genomes):
            values, violation = super().evaluate(genomes)
            values[:, 0] = np.nan
            return values, violation

    problem = Fails()
    optimizer = Bayes(problem, BayesSettings(**CHEAP), np.random.default_rng(0))
    fails = []
    for _ in range(8):
        genomes = optimizer.ask()
        values, violation = problem.evaluate(genomes)
        optimizer.tell(genomes, values, violation)
        fails.append((violation > 0).mean())
    assert np.mean(fails[:3]) > 0.15 > np.mean(fails[-3:])


def test_the_global_generator_and_threads_of_torch_stay_as_they_were():
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    volume(Bayes, 30, seed=0, **CHEAP)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_without_botorch_one_line_says_what_to_install_and_the_plugins_are_still_listed(monkeypatch):
    monkeypatch.setitem(sys.modules, "botorch", None)
    assert "bayes" in list_plugins("optim")
    with pytest.raises(BackendError) as error:
        Bayes(AnalyticProblem(), BayesSettings(), np.random.default_rng(0))
    assert str(error.value) == "the optimiser bayes needs the package botorch: pip install 'coevo[bayes]'"


# -- what is learnt from -----------------------------------------------------------------------------------------


def test_unordered_choices_are_all_as_far_apart_and_ordered_ones_as_far_as_their_places():
    space = Space(
        (
            Gene("net.op", ("a", "b", "c"), ordered=False),
            Gene("net.width", (8, 16, 64)),
            Gene("net.extra", ("x", "y"), ordered=False, parent="net.width", when=(64,)),
        )
    )
    genomes = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 2, 0], [0, 2, 1]])
    encoded = encode(space, genomes)
    far = np.linalg.norm(encoded[:, None] - encoded[None], axis=2)
    np.testing.assert_allclose([far[0, 1], far[0, 2], far[1, 2], far[4, 5]], 1.0)
    np.testing.assert_allclose(far[0, 3], 0.5)
    np.testing.assert_array_equal(encoded[0, 4:], 0.0)


def test_the_score_of_infeasibility_has_the_bound_between_feasible_and_infeasible():
    score = infeasibility(np.array([0.0, 1e-9, 2.0, 4.0, np.inf]))
    assert score[0] == -1.0
    assert (np.diff(score[1:]) >= 0).all() and score[1] >= 0.5 and score[-1] == 1.5
    np.testing.assert_array_equal(infeasibility(np.zeros(2)), [-1.0, -1.0])
    np.testing.assert_array_equal(infeasibility(np.array([np.inf, 0.0])), [1.5, -1.0])


def test_a_process_meets_what_it_was_told_and_draws_equal_rows_equally():
    with contained(np.random.default_rng(0)):
        from coevo.optim.surrogate import Surrogates

        rng = np.random.default_rng(1)
        inputs = rng.random((40, 3))
        targets = 5 + 3 * inputs[:, 0] - inputs[:, 1]
        drawn = Surrogates().draws("error", inputs, targets, np.concatenate([inputs, inputs[:5]]), 64, rng)
    np.testing.assert_allclose(drawn[:, :40].mean(axis=0), targets, atol=0.2)
    np.testing.assert_array_equal(drawn[:, :5], drawn[:, 40:])


# -- what is chosen ----------------------------------------------------------------------------------------------


def test_the_gain_in_hypervolume_is_the_area_by_hand():
    r = REFERENCE
    draws = np.array(
        [[[0.5, 0.5], [0.2, 0.8], [0.6, 0.6], [0.1, 0.1]], [[0.5, 0.5], [0.2, 0.2], [0.4, 1.2], [0.0, 0.0]]]
    )
    feasible = np.ones((2, 4), dtype=bool)
    feasible[:, 3] = False
    gain = HypervolumeGain(draws, feasible, np.array([0]))
    first, second = (0.5 - 0.2) * (r - 0.8), (r - 0.2) ** 2 - (r - 0.5) ** 2
    np.testing.assert_allclose(gain.of(np.array([1, 2, 3])), [(first + second) / 2, 0.0, 0.0])
    gain.take(1)
    np.testing.assert_allclose(gain.of(np.array([1])), [0.0], atol=1e-12)


def test_the_gain_of_parego_is_the_improvement_by_hand():
    draws = np.array([[[0.5, 0.5], [0.2, 0.8], [0.1, 0.1]]])
    feasible = np.array([[True, True, False]])
    gain = WeightedGain(draws, feasible, np.array([0]), np.array([0.75, 0.25]))
    improvement = (0.375 + RHO * 0.5) - (0.2 + RHO * 0.35)
    np.testing.assert_allclose(gain.of(np.array([1, 2])), [improvement, 0.0])


def test_the_gain_ranks_designs_as_botorchs_log_noisy_expected_hypervolume_improvement_does():
    rng = np.random.default_rng(0)
    draws = rng.random((8, 30, 3))
    ours = HypervolumeGain(draws, np.ones((8, 30), dtype=bool), np.arange(6)).of(np.arange(6, 30))
    with contained(rng), warnings.catch_warnings():
        theirs = botorchs(draws, np.arange(6), np.arange(6, 30))
    large = ours > 1e-3
    assert large.sum() > 10
    np.testing.assert_allclose(np.exp(theirs[large]), ours[large], rtol=0.05)


def botorchs(draws: np.ndarray, told: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Log of the expected gain of each design of the pool, by BoTorch, from the same draws."""
    from botorch.acquisition.multi_objective import logei
    from botorch.models.ensemble import EnsembleModel
    from botorch.sampling.base import MCSampler

    class Drawn(EnsembleModel):
        _num_outputs = draws.shape[2]

        def forward(self, X):
            return torch.as_tensor(-draws)[:, X[..., 0].long()].movedim(0, -3)

    class InOrder(MCSampler):
        def forward(self, posterior):
            each = torch.arange(len(draws)).reshape(-1, *[1] * len(posterior.batch_shape))
            shape = self.sample_shape + posterior.batch_shape
            return posterior.rsample_from_base_samples(self.sample_shape, each.expand(shape).clone())

        def _update_base_samples(self, posterior, base_sampler):
            pass

    logei._load_attempted = True  # compile nothing
    function = logei.qLogNoisyExpectedHypervolumeImprovement(
        Drawn(),
        ref_point=[-REFERENCE] * draws.shape[2],
        X_baseline=torch.as_tensor(told[:, None], dtype=torch.float64),
        sampler=InOrder(torch.Size([len(draws)])),
        cache_root=False,
        tau_relu=1e-6,
        tau_max=1e-4,
    )
    with torch.no_grad():
        return function(torch.as_tensor(pool[:, None, None], dtype=torch.float64)).numpy()


def test_a_batch_does_not_take_the_same_gain_twice():
    draws = np.tile(np.array([[0.9, 0.9], [0.1, 0.5], [0.1, 0.5001], [0.5, 0.1]]), (4, 1, 1))
    feasible = np.ones((4, 4), dtype=bool)
    rng = np.random.default_rng(0)
    chosen = suggest(draws, feasible, np.array([0]), np.arange(1, 4), acquisition="qlognehvi", count=2, rng=rng)
    assert sorted(chosen) == [1, 3]
    every = suggest(draws, feasible, np.array([0]), np.arange(1, 4), acquisition="qparego", count=9, rng=rng)
    assert sorted(every) == [1, 2, 3]
