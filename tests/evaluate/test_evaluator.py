from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from codesign_fakes import AccuracyModel, CostModel, Family, power

from coevo.accelerator.template import load_template
from coevo.design import Accuracy
from coevo.evaluate import Constraint, Evaluator, JointSpace
from coevo.metrics import METRICS, metric
from coevo.protocols import Task

OBJECTIVES = [METRICS["error"], METRICS["latency"], METRICS["throughput"]]


@pytest.fixture
def build(machine, tmp_path):
    """Builds an evaluator over the fakes; ``journal`` lists what was trained."""

    def make(objectives=OBJECTIVES, constraints=(), cost=None, accuracy=None, vary=None, **given):
        family = Family(Family.Settings(), Task(1, 8, 10))
        joint = JointSpace("tiny", family, [load_template(machine(), vary=vary)])
        settings = AccuracyModel.Settings(journal=str(tmp_path / "journal"), **(accuracy or {}))
        model = CostModel(CostModel.Settings(**(cost or {})))
        return Evaluator(joint, objectives, constraints, model, accuracy=AccuracyModel(settings), **given)

    return make


@pytest.fixture
def trained(tmp_path):
    def read():
        path = tmp_path / "journal"
        return path.read_text().split() if path.exists() else []

    return read


def everything(evaluator):
    axes = [range(count) for count in evaluator.space.cardinalities]
    genomes = np.array(list(itertools.product(*axes)), dtype=np.int64)
    return np.unique(evaluator.space.canonical(genomes), axis=0)


def test_hardware_gives_nan_where_an_objective_needs_the_accuracy(build, trained):
    evaluator = build()
    genomes = everything(evaluator)
    values, violation = evaluator.hardware(genomes)
    assert np.isnan(values[:, 0]).all()
    assert (violation > 0).any()
    feasible = violation == 0
    assert feasible.any()
    assert (values[feasible, 1] > 0).all()
    np.testing.assert_allclose(values[feasible, 2], -1e3 / values[feasible, 1])  # maximised: told with a minus
    assert (values[~feasible, 1:] == 0).all()
    assert trained() == []


def test_infeasible_hardware_is_never_trained(build, trained):
    evaluator = build(constraints=[Constraint("latency_ms", max=0.02)])
    genomes = everything(evaluator)
    _, violation = evaluator.hardware(genomes)
    found = dict(evaluator.evaluate(genomes))
    networks = {evaluator.joint.design(genomes[i]).network.key for i in np.flatnonzero(violation == 0)}
    every = {evaluator.joint.design(genome).network.key for genome in genomes}
    assert sorted(trained()) == sorted(networks)  # each once
    assert 0 < len(networks) < len(every)
    for i, excess in enumerate(violation):
        assert found[i].violation == excess
        assert ("error_pct" in found[i].metrics) == (excess == 0)
        assert all(math.isfinite(value) for value in found[i].values)


def test_what_cannot_be_mapped_keeps_its_reason_and_only_metrics_without_cost(build):
    evaluator = build()
    genomes = everything(evaluator)
    index = next(i for i, score in enumerate(evaluator.score(genomes)) if score.violation > 0)
    ((_, evaluation),) = evaluator.evaluate(genomes[index : index + 1])
    assert evaluation.reason.startswith("buffer: ")
    assert set(evaluation.metrics) == {"area_mm2", "macs", "parameters"}
    assert evaluation.values == (0.0, 0.0, 0.0)


def test_choices_that_make_no_machine_together_are_infeasible(build):
    wide = {"pe_array.rows": {"any_of": [4, 4096]}, "pe_array.columns": {"any_of": [4, 4096]}}
    evaluator = build(vary=wide)
    genomes = everything(evaluator)
    broken = [i for i, genome in enumerate(genomes) if (genome[-2:] == 1).all()]
    scores = evaluator.score(genomes)
    assert [i for i, score in enumerate(scores) if "pe_array" in score.reason] == broken
    assert all(scores[i].violation > 0 and not scores[i].metrics for i in broken)
    assert len({evaluation.id for _, evaluation in evaluator.evaluate(genomes)}) == len(genomes)
    with pytest.raises(ValueError, match="has no accelerator"):
        evaluator.joint.design(genomes[broken[0]])


def test_a_constraint_on_the_error_counts_after_training(build):
    evaluator = build(objectives=[METRICS["latency"]], constraints=[Constraint("error_pct", max=11)])
    genomes = everything(evaluator)
    _, violation = evaluator.hardware(genomes)
    found = [evaluation for i, evaluation in evaluator.evaluate(genomes) if violation[i] == 0]
    bad = [evaluation for evaluation in found if evaluation.metrics["error_pct"] > 11]
    assert bad
    assert [evaluation for evaluation in found if evaluation.violation > 0] == bad
    assert bad[0].violation == pytest.approx(bad[0].metrics["error_pct"] / 11 - 1)


def test_a_failed_training_is_infeasible_with_its_reason(build):
    evaluator = build(accuracy={"fails": 2})
    found = [evaluation for _, evaluation in evaluator.evaluate(everything(evaluator))]
    failed = [evaluation for evaluation in found if evaluation.reason == "diverged"]
    assert failed
    assert all(evaluation.violation == 1 and evaluation.values == (0.0, 0.0, 0.0) for evaluation in failed)
    assert all("error_pct" not in evaluation.metrics and "latency_ms" in evaluation.metrics for evaluation in failed)


def test_known_accuracies_are_not_trained_again(build, trained):
    evaluator = build()
    genomes = everything(evaluator)
    accuracies: dict[str, Accuracy] = {}
    first = dict(evaluator.evaluate(genomes, 0, accuracies))
    count = len(trained())
    assert count == len(accuracies)
    again = dict(build().evaluate(genomes, 0, accuracies))
    assert len(trained()) == count
    assert first == again


def test_figures_do_not_depend_on_jobs(build):
    one, two = build(jobs=1), build(jobs=2)
    genomes = everything(one)
    forward, backward = list(one.evaluate(genomes)), list(two.evaluate(genomes))
    assert [i for i, _ in forward] != [i for i, _ in backward]
    assert dict(forward) == dict(backward)


def test_accuracy_keys_tell_seeds_and_settings_apart(build):
    design = build().joint.design(everything(build())[0])
    keys = {build(seed=s, accuracy_id=a).accuracy_key(design) for s in (0, 1) for a in ("x", "y")}
    assert len(keys) == 4


def test_each_pair_is_scored_once(build):
    evaluator = build()
    genomes = everything(evaluator)
    CostModel.scored.clear()
    evaluator.hardware(np.concatenate([genomes, genomes]))
    evaluator.hardware(genomes)
    list(evaluator.evaluate(genomes))
    assert len(CostModel.scored) == len(genomes)


def test_nan_from_the_cost_model_names_the_design(build):
    evaluator = build(cost={"broken": True})
    genomes = everything(evaluator)
    with pytest.raises(ValueError, match=r"energy_mj of design [0-9a-f]{10} is nan"):
        evaluator.hardware(genomes)


def test_nan_from_the_accuracy_model_names_the_design_and_is_not_kept(build):
    evaluator = build(accuracy={"nan": True})
    accuracies: dict[str, Accuracy] = {}
    with pytest.raises(ValueError, match=r"error of design [0-9a-f]{10} is nan"):
        list(evaluator.evaluate(everything(evaluator), 0, accuracies))
    assert accuracies == {}


def test_a_cost_only_problem_trains_nothing(build, trained):
    evaluator = build(objectives=[METRICS["energy"], METRICS["area"]])
    genomes = everything(evaluator)
    values, violation = evaluator.hardware(genomes)
    assert np.isfinite(values).all()
    for i, evaluation in evaluator.evaluate(genomes):
        assert evaluation.values == tuple(values[i])
        assert "error_pct" not in evaluation.metrics
    assert trained() == []
    assert (violation == 0).any()


def test_a_metric_over_accuracy_and_cost_gets_both(build):
    both = metric("mJ")(lambda accuracy, cost: cost.energy_pj * 1e-9 * accuracy.error)
    evaluator = build(objectives=[both, power])
    genomes = everything(evaluator)
    column = both.quantity.column
    feasible = [evaluation for _, evaluation in evaluator.evaluate(genomes) if evaluation.violation == 0]
    for evaluation in feasible:
        expected = evaluation.metrics["energy_mj"] * evaluation.metrics["error_pct"] / 100
        assert evaluation.metrics[column] == pytest.approx(expected)
        assert evaluation.metrics["power_w"] > 0


def test_the_accuracy_is_asked_for_but_there_is_no_model(build):
    ready = build()
    with pytest.raises(ValueError, match="no accuracy model"):
        Evaluator(ready.joint, OBJECTIVES, [], CostModel(CostModel.Settings()))


def test_inspect_tells_all_about_one_design(build, trained):
    evaluator = build()
    genomes = everything(evaluator)
    genome = genomes[int(np.flatnonzero(evaluator.hardware(genomes)[1] == 0)[0])]
    untrained = evaluator.inspect(genome, train=False)
    assert trained() == []
    assert untrained.accuracy is None
    assert math.isnan(untrained.evaluation.values[0])
    found = evaluator.inspect(genome)
    assert found.accuracy is not None
    assert found.evaluation.metrics["error_pct"] == 100 * found.accuracy.error
    assert found.cost.energy_pj * 1e-9 == pytest.approx(found.evaluation.metrics["energy_mj"])
    assert found.workload.layers


def test_a_machine_that_is_too_large_by_itself_is_never_mapped(build):
    CostModel.scored.clear()
    evaluator = build(constraints=[Constraint("area_mm2", max=1e-6)])
    scores = evaluator.score(everything(evaluator))
    assert all(score.violation > 0 for score in scores)
    assert any(score.reason.startswith("area_mm2 is ") for score in scores)
    assert CostModel.scored == []
