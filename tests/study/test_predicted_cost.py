"""Costs that are learned from a few designs: how well, how surely, and that a front is scored by the true model too."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coevo.correlate.costs import compare_costs
from coevo.errors import SpecError
from coevo.experiment import load_experiment
from coevo.study import load_results
from coevo.study.truth import with_truth

FAKES = Path(__file__).parents[1] / "evaluate" / "codesign_fakes.py"
PREDICTOR = f"cost={{name: predictor, of: {{name: '{FAKES}:CostModel'}}, samples: 60, learner: gaussian_process}}"


@pytest.fixture
def predictor(workplace: Path):
    """The experiment's evaluator with predicted costs."""
    return load_experiment(workplace / "tiny.yaml", [PREDICTOR]).evaluator


def test_designs_that_were_not_shown_are_ranked_as_the_true_model_ranks_them(workplace):
    experiment = load_experiment(workplace / "tiny.yaml")
    section = {"name": "predictor", "of": {"name": f"{FAKES}:CostModel"}, "samples": 100}
    section["learner"] = "gaussian_process"
    found = compare_costs(experiment, {"name": f"{FAKES}:CostModel"}, {"it": section}, 200, seed=9)
    judged = {verdict.metric: verdict for verdict in found if verdict.label == "it"}
    assert judged["latency_ms"].agreement.kendall > 0.9
    assert judged["energy_mj"].agreement.kendall > 0.9
    assert judged["latency_ms"].mape < 0.15


def test_a_figure_depends_on_the_design_alone(workplace, predictor):
    genomes = predictor.space.sample(np.random.default_rng(3), 12)
    together = predictor.score(genomes)
    again = load_experiment(workplace / "tiny.yaml", [PREDICTOR, "seed=5"]).evaluator
    alone = [again.score(genome[None, :])[0] for genome in reversed(genomes)][::-1]
    assert [score.metrics for score in together] == [score.metrics for score in alone]


def test_designs_whose_likes_had_no_figures_are_predicted_to_have_none(predictor):
    genes = {"net.depth": 2, "net.width": 32, "net.kernel1": 5, "net.kernel2": 5, "small.pe_array.rows": 4}
    tight, roomy = (predictor.joint.genome({**genes, "small.memories.buffer.size_kib": size}) for size in (1, 64))
    infeasible, feasible = predictor.score(np.array([tight, roomy]))
    assert feasible.violation == 0
    assert infeasible.violation > 0
    assert infeasible.reason.startswith("predicted to be infeasible (probability ")


def test_the_front_is_scored_by_the_true_model_too_and_a_report_shows_both(run, workplace):
    results = run(PREDICTOR)
    by_truth = load_experiment(workplace / "tiny.yaml").evaluator
    assert results.front.designs
    for design, row in zip(results.front.designs, results.front.rows(), strict=True):
        (score,) = by_truth.score(np.array([design.evaluation.genome]))
        assert row["true_latency_ms"] == pytest.approx(score.metrics["latency_ms"])
        assert row["true_energy_mj"] == pytest.approx(score.metrics["energy_mj"])
        assert row["latency_ms"] != row["true_latency_ms"]
        assert row["latency_std_ms"] > 0
        assert row["true_front"] in (0.0, 1.0)
    assert any(row["true_front"] for row in results.front.rows())
    known = results.facts["cost predictor"]
    assert "held out, latency has Kendall tau 0." in known
    assert "and mean error" in known
    report = load_results(workplace / "run")
    assert (report.facts, report.front.rows()) == (results.facts, results.front.rows())


class Refusing:
    """Stands for a model that finds the first design infeasible."""

    def __init__(self, costs):
        self.truth, self._costs = self, costs

    def evaluate(self, pairs, jobs=1):
        return [
            replace(cost, violation=1.0, reason="too large") if i == 0 else cost for i, cost in enumerate(self._costs)
        ]


def test_a_design_that_the_true_model_finds_infeasible_is_not_on_its_front_and_has_no_true_figures(run, workplace):
    results = run()
    designs = results.front.designs
    truth = Refusing([design.cost for design in designs])
    joint = load_experiment(workplace / "tiny.yaml").joint
    first, *others = with_truth(designs, results.objectives, truth, joint, 1)
    assert first.truth == {"true_front": 0.0}
    assert all(design.truth["true_front"] == 1.0 and "true_latency_ms" in design.truth for design in others)
    (alone,) = with_truth(designs[:1], results.objectives, Refusing([designs[0].cost]), joint, 1)
    assert alone.truth == {"true_front": 0.0}


def test_a_mixed_models_prediction_is_held_against_its_own_truth(run):
    latency, energy = PREDICTOR.removeprefix("cost="), f"{{name: '{FAKES}:CostModel'}}"
    rows = run(f"cost={{name: mixed, latency: {latency}, energy: {energy}}}").front.rows()
    assert rows
    for row in rows:
        assert row["true_energy_mj"] == pytest.approx(row["energy_mj"], rel=1e-12)
        assert row["true_latency_ms"] != row["latency_ms"]
        assert row["latency_std_ms"] > 0
        assert "energy_std_mj" not in row


def test_of_a_front_what_another_design_beats_in_truth_is_marked(run):
    results = run(PREDICTOR, "objectives=[latency, energy]", "accuracy=null", "deployment={resolution: 8, classes: 10}")
    rows = results.front.rows()
    values = np.array([[row["true_latency_ms"], row["true_energy_mj"]] for row in rows])
    beaten = [bool(((values <= own).all(axis=1) & (values < own).any(axis=1)).any()) for own in values]
    assert [row["true_front"] for row in rows] == [float(not one) for one in beaten]


def test_a_run_that_was_stopped_ends_the_same_and_scores_no_sample_twice(workplace, run):
    whole = run(PREDICTOR, out="a")
    with load_experiment(workplace / "tiny.yaml", [PREDICTOR]).study(workplace / "b") as study:
        for progress in study.iterate():
            if progress.evaluations == 25:
                break
    experiment = load_experiment(workplace / "tiny.yaml", [PREDICTOR])
    with experiment.study(workplace / "b") as study:
        experiment.plan.cost.truth.scored.clear()
        study.run()
        front = study.results().front
    assert front.rows() == whole.front.rows()
    assert len(experiment.plan.cost.truth.scored) <= 2 * len(front.designs)  # reports of the front, no sample


def test_too_few_figures_to_learn_from_are_refused_with_the_reason(workplace):
    (workplace / "machine.yaml").write_text(
        (workplace / "machine.yaml").read_text().replace("any_of: [1, 2, 8, 64]", "any_of: [0.0625]")
    )
    evaluator = load_experiment(workplace / "tiny.yaml", [PREDICTOR]).evaluator
    with pytest.raises(SpecError, match=r"designs have figures to learn from, 20 are needed: buffer: "):
        evaluator.score(evaluator.space.sample(np.random.default_rng(0), 1))


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("{name: predictor}", "cost.of: is missing"),
        ("{name: predictor, of: {name: analytikal}}", "no cost plug-in named 'analytikal'"),
        ("{name: predictor, of: {name: analytical, objective: speed}}", "objective: Input should be 'edp'"),
        (
            "{name: predictor, of: {name: analytical, objektive: edp}}",
            "objektive: unknown key (did you mean 'objective'?",
        ),
        ("{name: predictor, of: {name: analytical}, samples: 5}", "cost.samples: input should be greater"),
    ],
)
def test_mistakes_in_the_section_are_one_line(workplace, section, problem):
    with pytest.raises(SpecError, match=re.escape(problem)) as error:
        load_experiment(workplace / "tiny.yaml", [f"cost={section}"])
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_two_hundred_designs_teach_the_analytical_model_on_a_shipped_space():
    overrides = ["accuracy=null", "objectives=[latency, energy]", "deployment={resolution: 32, classes: 10}"]
    experiment = load_experiment("cifar10_eyeriss", [*overrides, "budget={designs: 10}"])
    section = {"name": "predictor", "of": {"name": "analytical"}}
    found = compare_costs(experiment, {"name": "analytical"}, {"it": section}, 100, seed=1)
    taus = {verdict.metric: verdict.agreement.kendall for verdict in found if verdict.label == "it"}
    assert taus["latency_ms"] > 0.9
    assert taus["energy_mj"] > 0.9
