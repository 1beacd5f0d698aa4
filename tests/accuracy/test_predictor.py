"""The predictor learns what can be learnt, knows how well it does, and mixes nothing up."""

from __future__ import annotations

import csv
import gzip
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from coevo.accuracy.features import features, genes
from coevo.accuracy.predictor import PredictedAccuracy, measured, plugin
from coevo.accuracy.surrogate import fit
from coevo.accuracy.table import FILE
from coevo.design import Accuracy, Network
from coevo.networks.cell import Cell, CellSettings, from_digits
from coevo.networks.mbconv import MBConv, MBConvSettings
from coevo.protocols import Candidate, Context, Task

FAMILY = Cell(CellSettings(), Task(3, 32, 10))
NONE = np.empty((1, 0))


class Oracle:
    """Networks err less the more 3x3 convolutions they have; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.task = Task(3, 32, 10)

    def score(
        self, family: Any, networks: Sequence[Network], seed: int, jobs: int = 1, context: Any = None
    ) -> Iterator[tuple[int, Accuracy]]:
        for i, network in enumerate(networks):
            self.asked.append(network.key)
            yield i, Accuracy(truth(network), fidelity="measured")


def truth(network: Network) -> float:
    operations = list(network.choices.values())
    return 0.6 - 0.07 * operations.count("nor_conv_3x3") - 0.02 * operations.count("nor_conv_1x1")


def cells(count: int, seed: int = 0) -> list[Network]:
    rng = np.random.default_rng(seed)
    digits = {"".join(map(str, rng.integers(1, 5, 6))) for _ in range(4 * count)}
    return [Network("nasbench201", from_digits(d)) for d in sorted(digits)[: 4 * count : 3][:count]]


def history(networks: Sequence[Network], errors: Sequence[float] | None = None) -> tuple[Candidate, ...]:
    errors = [truth(network) for network in networks] if errors is None else errors
    return tuple(Candidate(n, NONE, Accuracy(e, fidelity="measured")) for n, e in zip(networks, errors, strict=True))


def predictor(**settings: object) -> tuple[PredictedAccuracy, Oracle]:
    model = plugin(plugin.Settings.model_validate({"of": {"name": "train"}, "labels": 20, **settings}))
    model._measured = oracle = Oracle()
    return model, oracle


def score(model: PredictedAccuracy, networks: Sequence[Network], context: Context) -> list[Accuracy]:
    scores = dict(model.score(FAMILY, networks, 0, 1, context))
    return [replace(scores[i], seconds=0) for i in range(len(networks))]


KNOWN, NEW = cells(40), cells(30, seed=1)


def company(networks: Sequence[Network]) -> tuple[Candidate, ...]:
    return tuple(Candidate(network, NONE) for network in networks)


def test_with_too_few_labels_everything_is_measured() -> None:
    model, oracle = predictor()
    scores = score(model, NEW, Context(history(KNOWN[:19]), company(NEW)))
    assert len(oracle.asked) == len(NEW)
    assert {accuracy.fidelity for accuracy in scores} == {"measured"}


def test_with_enough_labels_most_is_predicted_well_and_the_promising_measured() -> None:
    model, oracle = predictor(measure=0.2)
    scores = score(model, NEW, Context(history(KNOWN), company(NEW)))
    guesses = [i for i, accuracy in enumerate(scores) if accuracy.fidelity.startswith("predicted (tau 0.")]
    assert len(oracle.asked) == math.ceil(0.2 * len(NEW)) == len(NEW) - len(guesses)
    errors = np.array([truth(network) for network in NEW])
    assert kendalltau([scores[i].error for i in guesses], errors[guesses]).statistic > 0.7
    best = sorted(range(len(NEW)), key=lambda i: errors[i])[:3]
    assert len({NEW[i].key for i in best} & set(oracle.asked)) >= 2


def test_what_cannot_be_learnt_is_measured() -> None:
    model, oracle = predictor()
    shuffled = np.random.default_rng(3).permutation([truth(network) for network in KNOWN]).tolist()
    scores = score(model, NEW, Context(history(KNOWN, shuffled), company(NEW)))
    assert len(oracle.asked) == len(NEW)
    assert not any(accuracy.fidelity.startswith("predicted") for accuracy in scores)


def test_predictions_and_failures_are_never_learnt_from() -> None:
    good = history(KNOWN)
    guess = replace(good[0], accuracy=Accuracy(0.1, fidelity="predicted (tau 0.9 on 40 networks)"))
    failed = replace(good[1], accuracy=Accuracy(1.0, violation=1.0, reason="diverged"))
    assert measured([guess, failed, *good[2:]]) == list(good[2:])


def test_a_resumed_step_says_the_same_of_what_is_left() -> None:
    context = Context(history(KNOWN), company(NEW))
    model, _ = predictor()
    whole = score(model, NEW, context)
    again, oracle = predictor()
    assert score(again, NEW[17:], context) == whole[17:]
    assert all(accuracy.fidelity == "measured" for n, accuracy in zip(NEW, whole, strict=True) if n.key in oracle.asked)


def test_deviations_are_larger_where_nothing_is_known() -> None:
    rng = np.random.default_rng(0)
    given = rng.uniform(-1, 1, (60, 3))
    surrogate = fit(given, given @ [1.0, 2, 0] + 0.1 * rng.normal(size=60))
    _, near = surrogate.predict(rng.uniform(-1, 1, (50, 3)))
    _, far = surrogate.predict(rng.uniform(6, 8, (50, 3)))
    assert np.median(far) > 1.5 * np.median(near)


def test_two_thirds_of_new_targets_lie_within_a_deviation() -> None:
    rng = np.random.default_rng(1)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        given = rng.uniform(-1, 1, (count, 4))
        return given, np.sin(2 * given[:, 0]) + given[:, 1] ** 2 + 0.2 * rng.normal(size=count)

    surrogate = fit(*draw(100))
    given, targets = draw(400)
    mean, deviation = surrogate.predict(given)
    assert 0.55 < np.mean(np.abs(targets - mean) < deviation) < 0.85
    assert surrogate.tau == pytest.approx(kendalltau(mean, targets).statistic, abs=0.1)


def test_constant_targets_have_no_tau_and_are_predicted_as_they_are() -> None:
    surrogate = fit(np.random.default_rng(0).normal(size=(20, 2)), np.full(20, 0.3))
    assert math.isnan(surrogate.tau)
    assert surrogate.predict(np.zeros((1, 2)))[0] == pytest.approx(0.3)


def test_features_of_genes_tell_all_networks_apart_and_inactive_genes_from_the_first_choice() -> None:
    stage = {"depth": [1, 2], "width": [4, 8], "kernel": [3, 5], "operator": ["mbconv", "fused"]}
    settings = MBConvSettings.model_validate({"granularity": "block", "stem": {"width": 4}, "stages": [stage]})
    family = MBConv(settings, Task(1, 8, 10))
    from coevo.space import Space

    space = Space(tuple(family.genes))
    every = space.canonical(np.array(list(product(*(range(n) for n in space.cardinalities))), dtype=np.int64))
    networks = {n.key: n for n in (Network("small", space.decode(genome)) for genome in every)}
    assert len(networks) == space.size
    encoded = genes(family, list(networks.values()))
    assert len(np.unique(encoded, axis=0)) == space.size
    assert features(family, list(networks.values())).shape == (space.size, encoded.shape[1] + 3)


def test_isomorphic_cells_have_the_same_encoding() -> None:
    assert FAMILY.encoding(from_digits("300000")) != FAMILY.encoding(from_digits("000300"))
    dead = [FAMILY.encoding(from_digits(digits)) for digits in ("000300", "300300", "020300")]
    assert dead[0] == dead[1] == dead[2]


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(os.environ.get("COEVO_DATA", "nowhere")) / FILE).is_file(), reason=f"COEVO_DATA holds no {FILE}"
)
def test_a_hundred_cells_tell_the_order_of_a_thousand_others() -> None:
    with gzip.open(Path(os.environ["COEVO_DATA"]) / FILE, "rt") as text:
        rows = [row for row in csv.DictReader(text) if FAMILY.graph(from_digits(row["ops"])).connected]
    given = features(FAMILY, [Network("nasbench201", from_digits(row["ops"])) for row in rows])
    for column, least in (("c10_test200", 0.75), ("c100_test200", 0.7), ("in16_test200", 0.7)):
        errors = np.array([100 - float(row[column]) for row in rows])
        taus = []
        for seed in range(100, 106):
            drawn = np.random.default_rng(seed).permutation(len(rows))[:1100]
            mean, _ = fit(given[drawn[:100]], errors[drawn[:100]]).predict(given[drawn[100:]])
            taus.append(kendalltau(mean, errors[drawn[100:]]).statistic)
        print(f"{column}: tau {np.mean(taus):.3f} in the mean, {min(taus):.3f} at worst, of 6 draws")
        assert np.mean(taus) >= least
