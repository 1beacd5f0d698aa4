"""The predictor's promises: it learns from measurements alone, says so, and goes on the same after a kill."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import measuring_model
import numpy as np
import pytest
from pydantic import ValidationError

from coevo.accuracy.predictor import PredictedAccuracy, most_telling, plugin
from coevo.design import Accuracy, Network
from coevo.errors import SpecError
from coevo.learning.features import Encoding
from coevo.learning.process import Scale, evidence
from coevo.learning.regression import FOLDS, Predictor, kendall_tau, logistic, logit
from coevo.networks import build_family, load_space
from coevo.networks.cell import Cell, CellSettings, from_digits
from coevo.protocols import Candidate, Context, Task

MODEL = f"{Path(measuring_model.__file__)}:Measuring"
FAMILY = Cell(CellSettings(cells=1), Task(3, 32, 10))
LABELS = 30


def _model(noise: float = 0.0, **settings: Any) -> PredictedAccuracy:
    """A quick one: it need not be the best."""
    of = {"name": MODEL, "noise": noise}
    return plugin(
        plugin.Settings(**{"of": of, "labels": LABELS, "features": "graph", "learner": "gaussian_process", **settings})
    )


def _networks(count: int, seed: int = 0) -> list[Network]:
    cells = np.random.default_rng(seed).permutation(["".join(digits) for digits in product("01234", repeat=6)])
    return [Network("cell", from_digits(str(cell))) for cell in cells[:count]]


def _candidates(networks: list[Network], model: PredictedAccuracy | None = None) -> tuple[Candidate, ...]:
    """Networks with the costs of one design, measured if a model is given."""
    rng = np.random.default_rng(len(networks))
    found = [None if model is None else model._of.measure(FAMILY, network) for network in networks]  # type: ignore[attr-defined]
    return tuple(Candidate(n, rng.random((1, 1)), a) for n, a in zip(networks, found, strict=True))


def _score(model: PredictedAccuracy, networks: list[Network], context: Context, seed: int = 0) -> list[Accuracy]:
    scores = dict(model.score(FAMILY, networks, seed, 1, context))
    assert sorted(scores) == list(range(len(networks)))
    return [replace(scores[i], seconds=0) for i in range(len(networks))]


def _predicted(scores: list[Accuracy]) -> list[bool]:
    return [score.fidelity.startswith("predicted") for score in scores]


NETWORKS = _networks(90)
OLD, NEW = NETWORKS[:60], NETWORKS[60:]


def test_all_are_measured_until_there_are_enough_labels() -> None:
    model = _model()
    context = Context(_candidates(OLD[: LABELS - 1], model), _candidates(NEW))
    assert not any(_predicted(_score(model, NEW, context)))
    assert not any(_predicted([score for _, score in model.score(FAMILY, NEW, seed=0)]))


def test_with_enough_labels_errors_are_predicted_in_order_and_say_so() -> None:
    model = _model(measure=0.0)
    scores = _score(model, NEW, Context(_candidates(OLD, model), _candidates(NEW)))
    assert all(_predicted(scores))
    assert scores[0].fidelity.startswith("predicted (tau 0.")
    assert scores[0].fidelity.endswith(" on 60 networks)")
    assert all(0 < score.error < 1 and score.uncertainty > 0 and score.test_error is None for score in scores)
    truth = np.array([candidate.accuracy.error for candidate in _candidates(NEW, model)])  # type: ignore[union-attr]
    assert kendall_tau(np.array([score.error for score in scores]), truth) > 0.8
    assert model._of.asked == []  # type: ignore[attr-defined]


def test_all_are_measured_where_errors_cannot_be_told_from_features() -> None:
    model = _model(measure=0.0)
    known = _candidates(OLD, model)
    others = np.random.default_rng(0).permutation(len(known))
    shuffled = tuple(replace(c, accuracy=known[i].accuracy) for c, i in zip(known, others, strict=True))
    assert not any(_predicted(_score(model, NEW, Context(shuffled, _candidates(NEW)))))
    assert all(_predicted(_score(model, NEW, Context(known, _candidates(NEW)))))


def test_nothing_is_learned_from_predictions_and_failures() -> None:
    model = _model(measure=0.0)
    known = _candidates(OLD, model)
    ignored = [
        Candidate(NEW[0], np.zeros((1, 1)), Accuracy(0.9, fidelity="predicted (tau 0.90 on 60 networks)")),
        Candidate(NEW[1], np.zeros((1, 1)), Accuracy(1.0, violation=1.0, reason="diverged")),
        Candidate(NEW[2], np.zeros((1, 1))),
    ]
    few = Context((*known[: LABELS - 1], *ignored))
    assert not any(_predicted(_score(model, NEW[3:], few)))
    alone, among = Context(known), Context((*known, *ignored))
    assert _score(model, NEW[3:], alone) == _score(model, NEW[3:], among)


def test_a_resumed_step_measures_the_same_networks_and_predicts_the_same_errors() -> None:
    context = Context(_candidates(OLD, _model()), _candidates(NEW))
    whole = _score(_model(), NEW, context)
    assert _predicted(whole).count(False) == 6  # a fifth of 30
    rest = [7, 3, 20, 25]
    assert _score(_model(), [NEW[i] for i in rest], context) == [whole[i] for i in rest]
    assert _score(_model(), NEW[::-1], context) == whole[::-1]


def test_what_is_measured_is_on_the_expected_front_and_uncertain() -> None:
    costs = np.array([[1.0], [2.0], [3.0], [3.0]])
    candidates = [Candidate(n, c[None, :]) for n, c in zip(NEW, costs, strict=False)]
    mean, spread = np.array([0.5, 0.3, 0.1, 0.4]), np.array([0.01, 0.02, 0.015, 0.05])
    assert most_telling(candidates, mean, spread) == [1, 2, 0, 3]
    perhaps = replace(candidates[3], costs=np.array([[2.5]]))  # better than the second if both are lucky
    assert most_telling([*candidates[:3], perhaps], np.array([0.5, 0.3, 0.1, 0.31]), spread) == [3, 1, 2, 0]
    cheap = replace(candidates[3], costs=np.array([[9.0], [0.5]]))  # one of its two designs is on the front
    assert most_telling([*candidates[:3], cheap], mean, spread) == [3, 1, 2, 0]


def test_networks_of_earlier_steps_are_not_measured_again() -> None:
    model = _model(measure=1.0)
    scores = _score(model, [OLD[0], NEW[0]], Context(_candidates(OLD, model), _candidates([OLD[0], NEW[0]])))
    assert _predicted(scores) == [True, False]


def test_zero_cost_proxies_are_learned_from_and_computed_once() -> None:
    model = _model(noise=2.0, measure=0.0, features="genes", least_tau=-1.0)
    context = Context(_candidates(OLD, model), _candidates(NEW))
    without = _score(model, NEW, context)
    helped = _model(noise=2.0, measure=0.0, features="genes", zero_cost={"name": MODEL, "noise": 2.0})
    scores = _score(helped, NEW, context)
    truth = np.array([candidate.accuracy.error for candidate in _candidates(NEW, model)])  # type: ignore[union-attr]
    with_tau, tau = (kendall_tau(np.array([score.error for score in s]), truth) for s in (scores, without))
    assert with_tau > 0.8 > tau
    assert _score(helped, NEW, context) == scores
    assert sorted(helped._proxies.asked) == sorted(network.key for network in NETWORKS)


def test_figures_that_could_not_be_had_are_the_middle_of_those_learned_from() -> None:
    learned = [{"a": 1.0, "b": 2.0}, {"a": math.nan}, {"a": 3.0}]
    encoding = Encoding.of(learned)
    assert encoding.names == ("a", "b")
    assert encoding(learned).tolist() == [[1, 2], [2, 0], [3, 0]]
    assert encoding([{"a": math.inf, "unknown": 1.0}]).tolist() == [[2, 0]]


def test_a_model_without_proxies_is_refused_as_zero_cost() -> None:
    with pytest.raises(SpecError, match="has no proxies to learn from"):
        _model(zero_cost={"name": "train"})


def test_a_family_without_a_graph_is_predicted_from_its_genes() -> None:
    class Bare:
        genes, workload = FAMILY.genes, FAMILY.workload

    model = _model(measure=0.0, least_tau=0.1, features="auto")
    context = Context(_candidates(OLD, model))
    assert all(_predicted([score for _, score in model.score(Bare(), NEW, 0, 1, context)]))  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="needs a family with a graph"):
        next(_model().score(Bare(), NEW, 0, 1, context))  # type: ignore[arg-type]


def test_a_space_of_blocks_is_predicted_too() -> None:
    family = build_family(load_space("digits_mbconv"), Task(1, 8, 10))
    from coevo.space import Space

    space = Space(family.genes)
    genomes = space.sample(np.random.default_rng(0), 60)
    networks = [Network("mbconv", space.decode(genome)) for genome in genomes]
    errors = [1e3 / family.workload(n.choices).parameters ** 0.9 for n in networks]
    history = [Candidate(n, np.zeros((1, 1)), Accuracy(e)) for n, e in zip(networks[:40], errors, strict=False)]
    scores = dict(_model(measure=0.0, features="auto").score(family, networks[40:], 0, 1, Context(history)))
    assert all(score.fidelity.startswith("predicted") for score in scores.values())
    assert kendall_tau(np.array([scores[i].error for i in range(20)]), np.array(errors[40:])) > 0.7


def test_closing_closes_the_models_that_it_is_made_of() -> None:
    model = _model(zero_cost={"name": MODEL})
    model.close()
    assert model._of.closed  # type: ignore[attr-defined]
    assert model._proxies.closed


@pytest.mark.parametrize("wrong", [{"labels": 3}, {"measure": 2.0}, {"learner": "oracle"}, {"of": {"epochs": 3}}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _model(**wrong)


def _curve(count: int, seed: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (count, 3))
    return x, 1 / (1 + np.exp(1 + np.sin(2 * x[:, 0]) + x[:, 1] ** 2 + noise * rng.standard_normal(count)))


def test_the_core_is_deterministic_and_its_tau_holds_on_new_networks() -> None:
    (x, errors), (other, truth) = _curve(40, 0), _curve(200, 1)
    first, second = Predictor(seed=3).fit(x, errors), Predictor(seed=3).fit(x, errors)
    mean, spread = first.predict(other)
    assert np.array_equal((mean, spread), second.predict(other))
    assert first.held_out_tau == second.held_out_tau == pytest.approx(kendall_tau(mean, truth), abs=0.08)


def test_uncertainty_is_calibrated_and_grows_away_from_the_data() -> None:
    (x, errors), (other, truth) = _curve(80, 0), _curve(300, 1)
    model = Predictor().fit(x, errors)
    mean, spread = model.predict(other)
    inside = np.mean(np.abs(truth - mean) < spread)
    assert 0.55 < inside < 0.85  # 0.68 for a normal one
    assert model.predict(np.full((1, 3), 4.0))[1] > 2 * np.median(spread)


def test_constant_errors_and_constant_features_teach_nothing() -> None:
    x, errors = _curve(20, 0)
    assert Predictor("gaussian_process").fit(x, np.full(20, 0.5)).held_out_tau == 0
    assert abs(Predictor("gaussian_process").fit(np.ones((20, 2)), errors).held_out_tau) < 0.5
    with pytest.raises(ValueError, match="at least 5"):
        Predictor().fit(x[: FOLDS - 1], errors[: FOLDS - 1])
    with pytest.raises(ValueError, match="call fit first"):
        Predictor().predict(x)


def test_evidence_prefers_the_features_that_errors_depend_on() -> None:
    x, errors = _curve(60, 0)
    noise = np.random.default_rng(5).standard_normal(x.shape)
    assert evidence(x, errors) > evidence(np.hstack([x, noise]), errors) > evidence(noise, errors)


def test_the_scale_turns_errors_to_scores_and_back_also_beyond_its_ends() -> None:
    scale = Scale.of(logit(np.array([0.1, 0.2, 0.2, 0.4, 0.7])))
    asked = np.array([0.01, 0.1, 0.15, 0.2, 0.55, 0.7, 0.9])
    scores = scale.to_score(logit(asked))
    assert np.all(np.diff(scores) > 0)
    assert logistic(scale.to_value(scores)) == pytest.approx(asked)
    assert scale.to_score(logit(np.array([0.2]))) == pytest.approx(0, abs=0.3)


def test_kendall_tau_is_that_of_the_definition() -> None:
    a, b = np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 2])
    # Pairs: 12 +, 13 +, 14 +, 23 -, 24 -, 34 tied in b; (3 - 2) / sqrt(6 * 5)
    assert kendall_tau(a, b) == pytest.approx(1 / 30**0.5)
    assert kendall_tau(a, np.ones(4)) == 0


def _draw(family: Any, seed: int) -> tuple[str, list[Network], PredictedAccuracy]:
    """The table, 1,100 connected cells drawn from it, and a model as it comes."""
    folder = os.environ.get("COEVO_DATA")
    if not folder or not (Path(folder) / "nb201_acc.csv.gz").exists():
        pytest.skip("needs nb201_acc.csv.gz in the folder that COEVO_DATA names")
    table = str(Path(folder) / "nb201_acc.csv.gz")
    cells = measuring_model.connected_cells(table)
    drawn = np.random.default_rng(seed).permutation(len(cells))[:1100]
    model = plugin(plugin.Settings(of={"name": MODEL}, labels=100, measure=0.0))
    return table, [Network("cell", from_digits(cells[i])) for i in drawn], model


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_cells_of_nas_bench_201_order_the_others() -> None:
    """Kendall's tau on 1,000 random cells after 100 measured ones, ten draws that nothing was tuned on."""
    family = build_family(load_space("nasbench201"), Task(3, 32, 10))
    taus: dict[str, list[float]] = {}
    for seed, column in product(range(2000, 2010), ("c10_test200", "c100_test200", "in16_test200")):
        if column == "c10_test200":
            table, networks, model = _draw(family, seed)
        errors = np.array([measuring_model.published_error(table, n.choices, column) for n in networks])
        history = [Candidate(n, np.zeros((1, 0)), Accuracy(e)) for n, e in zip(networks[:100], errors, strict=False)]
        scores = dict(model.score(family, networks[100:], seed, 1, Context(history)))
        mean, spread = (np.array([getattr(scores[i], k) for i in range(1000)]) for k in ("error", "uncertainty"))
        tau = kendall_tau(mean, errors[100:])
        taus.setdefault(column, []).append(tau)
        inside = np.mean(np.abs(errors[100:] - mean) < spread)
        print(f"{column} draw {seed}: tau {tau:.3f}, {inside:.0%} within one deviation, {scores[0].fidelity}")
    for column, found in taus.items():
        print(f"{column}: mean tau {np.mean(found):.3f}, least {min(found):.3f}")
        assert np.mean(found) >= 0.75
