from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from coevo import load_experiment, pareto
from coevo.cli import _run
from coevo.compare import Comparison, exact_front, load_comparison, read_front, write_comparison, write_front
from coevo.compare.exact import Yardstick, yardstick
from coevo.compare.runs import after
from coevo.compare.statistics import holm, mean_ranks, rank_sum_tests
from coevo.compare.write import text_table
from coevo.errors import RunError, SpecError
from coevo.study import Study

FAKES = Path(__file__).parents[1] / "evaluate" / "codesign_fakes.py"
TWINS = Path(__file__).parent / "twin_family.py"

EXPERIMENT = f"""
schema: 1
name: small
network: {{space: space.yaml}}
accelerators:
  - template: tiny
    vary:
      memories.sram.size_kib: {{from: 16, to: 512, times: 2}}
      memories.accumulators.fanout.x: {{from: 2, to: 16, times: 2}}
objectives: [error, latency, energy]
constraints: {{area_mm2: {{max: 0.55}}}}
cost: {{name: "{FAKES}:CostModel"}}
accuracy: {{name: "{FAKES}:AccuracyModel"}}
optimizer: {{name: random}}
budget: {{trainings: 8}}
"""

SPACE = f"""
schema: 1
name: tiny
description: One or two convolutions.
family: {TWINS}:Family
widths: [4, 8, 16]
"""

FILE = """
schema: 1
name: mine
experiment: {experiment}
optimizers:
  guided: {{name: nsga2, initial: 4, offspring: 2}}
  random: {{name: random, batch: 4}}
seeds: 3
at: [6, 12]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "small.yaml").write_text(EXPERIMENT)
    file = tmp_path / "mine.yaml"
    file.write_text(FILE.format(experiment=tmp_path / "small.yaml"))
    return file


SEVERAL_PARTS = (
    "cost={name: analytical}",
    "accelerators=[{template: nvdla_shidiannao, vary: {depthwise.pe_array.rows: {any_of: [4, 8]}}}]",
    "constraints={latency_ms: {max: 0.002}}",
)


@pytest.mark.parametrize(
    "overrides",
    [[f"cost.name={FAKES}:CostModel"], [f"cost.name={TWINS}:TwinCost"], SEVERAL_PARTS],
    ids=["layers", "of the network", "several parts"],
)
def test_the_true_front_is_that_of_all_pairs_scored_one_by_one(
    file: Path, tmp_path: Path, overrides: Sequence[str]
) -> None:
    experiment = load_experiment(file.parent / "small.yaml", overrides)
    front = exact_front(experiment.plan)
    space = experiment.joint.space
    everything = np.array(list(np.ndindex(*space.cardinalities)), dtype=np.int64)
    genomes = np.unique(space.canonical(everything), axis=0)
    evaluations = [evaluation for _, evaluation in experiment.evaluator.evaluate(genomes)]
    values = np.array([e.values for e in evaluations if e.violation == 0])
    assert 0 < len(values) < len(genomes)
    best = np.unique(values[pareto.nondominated(values, np.zeros(len(values)))], axis=0)
    np.testing.assert_allclose(np.array(front.front), best)
    np.testing.assert_allclose([front.low, front.high], [values.min(axis=0), values.max(axis=0)])
    assert front.logarithmic == (False, True, True)
    write_front(front, "small", tmp_path / "small.json")
    assert read_front(str(tmp_path / "small.json")) == front


def test_what_is_learnt_finds_more_of_the_true_front_than_chance(file: Path, tmp_path: Path) -> None:
    front = tmp_path / "small.json"
    write_front(exact_front(load_experiment(file.parent / "small.yaml").plan), "small", front)
    comparison = load_comparison(file, [f"front={front}"]).run(tmp_path / "out")
    assert comparison.trains and comparison.measure.known
    late = comparison.standings[12]
    assert 0.5 < late["random"].median < late["guided"].median <= 1 + 1e-9
    assert np.median(late["random"].distances) > np.median(late["guided"].distances) >= 0
    assert all(late[label].median >= of.median for label, of in comparison.standings[6].items())
    assert late["guided"].rank < late["random"].rank


def test_runs_that_are_there_are_used_and_figures_do_not_depend_on_jobs(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    journal = tmp_path / "journal"
    plan = load_comparison(file, [f"overrides={{accuracy.journal: {journal}}}"])
    first = plan.run(tmp_path / "out", 1, lambda *done: told.append(done))
    assert told == [(i, 6) for i in range(1, 7)]
    trained = journal.read_text()
    assert trained.count("\n") == 6 * 12
    with monkeypatch.context() as patched:
        patched.setattr("coevo.study.study.Study.run", lambda study: pytest.fail("runs again"))
        again = plan.run(tmp_path / "out", 1)
    assert journal.read_text() == trained
    other = plan.run(tmp_path / "other", 2)
    for comparison in (again, other):
        for budget, label in ((6, "guided"), (12, "random")):
            shares = comparison.standings[budget][label].shares
            np.testing.assert_array_equal(shares, first.standings[budget][label].shares)


def test_a_network_that_one_optimiser_had_trained_is_not_trained_for_another(file: Path, tmp_path: Path) -> None:
    def runs(model: str) -> tuple[Comparison, list[str]]:
        journal = tmp_path / f"{model}.journal"
        accuracy = {"name": f"{FAKES}:{model}", "journal": str(journal), "fails": 7}
        plan = load_comparison(file, [f"overrides={json.dumps({'accuracy': accuracy})}", "seeds=2"])
        return plan.run(tmp_path / model), journal.read_text().splitlines()

    alone, trained = runs("AccuracyModel")
    shared, once = runs("SharedAccuracyModel")
    failed = [key for key in once if int(key, 16) % 7 == 0]  # tried by each anew
    kept = [key for key in once if key not in failed]
    assert len(set(kept)) < len(kept) <= 2 * len(set(kept))  # two seeds, two trainings at most
    assert failed and len(once) < len(trained) == 2 * 2 * 12
    for label, of in alone.runs.items():
        for run, other in zip(of, shared.runs[label], strict=True):
            np.testing.assert_array_equal(run.values, other.values)
            assert run.trained == other.trained == 12


def test_runs_of_one_process_share_a_cost_model(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[object] = []
    monkeypatch.setattr(
        "coevo.compare.comparison.Study", lambda plan, folder: used.append(plan.cost) or Study(plan, folder)
    )
    load_comparison(file, ["seeds=2"]).run(tmp_path / "out")
    assert len(used) == 4 and len(set(map(id, used))) == 1


def test_a_damaged_file_of_shared_accuracies_is_named(file: Path, tmp_path: Path) -> None:
    plan = load_comparison(file, [f"overrides={{accuracy: {{name: '{FAKES}:SharedAccuracyModel'}}}}", "seeds=1"])
    plan.run(tmp_path / "out")
    for kept in (tmp_path / "out" / "accuracies").iterdir():
        kept.write_text("{")
    with pytest.raises(RunError, match=r"accuracies/\w+\.json: no accuracy that a comparison kept .*; delete it"):
        replace(plan, spec=plan.spec.model_copy(update={"optimizers": {"other": {"name": "random"}}})).run(
            tmp_path / "out"
        )


def test_without_a_true_front_the_best_of_all_runs_is_the_measure(file: Path, tmp_path: Path) -> None:
    comparison = load_comparison(file).run(tmp_path / "out")
    values = np.concatenate([run.values for of in comparison.runs.values() for run in of])
    assert not comparison.measure.known
    found = pareto.hypervolume(comparison.measure.scaled(values), np.ones(3))
    assert found == pytest.approx(comparison.measure.volume)


def test_the_page_needs_nothing_else_and_names_every_optimiser(file: Path, tmp_path: Path) -> None:
    comparison = load_comparison(file, ["optimizers.<odd & label>={name: random, batch: 3}"]).run(tmp_path / "out")
    page = write_comparison(comparison, tmp_path / "out").read_text()
    assert page.count("<svg") == 6  # over trainings, designs and time; three pairs of objectives
    assert "src=" not in page and "&lt;odd &amp; label&gt;" in page and "<odd" not in page
    with (tmp_path / "out" / "comparison.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 2 * 3 * 3
    assert {row["optimizer"] for row in rows} == {"guided", "random", "<odd & label>"}
    assert "12 trainings" in text_table(comparison)


def test_check_says_what_a_comparison_holds(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["check", str(file)]) == 0
    said = capsys.readouterr().out
    assert "compared    after 6, 12 trainings, 3 seeds each" in said and "guided: {'name': 'nsga2'" in said


def test_the_command_prints_the_standings(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["exact", str(file.parent / "small.yaml"), "--out", str(tmp_path / "front.json"), "--quiet"]) == 0
    out = tmp_path / "out"
    code = _run(
        ["compare", str(file), "--out", str(out), "--quiet", "--jobs", "1", "--set", f"front={tmp_path}/front.json"]
    )
    printed = capsys.readouterr().out
    assert code == 0
    assert "on the true front" in printed and "6 trainings: share of the hypervolume of the true front" in printed
    assert f"report: {out}/comparison.html" in printed


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("optimizers.random={name: nsga3}", "optimizers.random"),
        ("optimizers.random={name: random, bach: 3}", "batch"),
        ("front=nowhere", "no front named 'nowhere'"),
        ("at=[]", "at"),
        ("seeds=0", "seeds"),
        ("schema=2", "must be 1"),
        ("experiment=nowhere", "experiment: no experiment named 'nowhere'"),
    ],
)
def test_mistakes_are_one_line_before_anything_runs(file, tmp_path, capsys, override, problem):
    assert _run(["compare", str(file), "--out", str(tmp_path / "out"), "--set", override]) == 2
    message = capsys.readouterr().err
    assert problem in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_front_of_another_problem_or_a_damaged_one_is_refused(file: Path, tmp_path: Path) -> None:
    two = Yardstick((0.0, 0.0), (1.0, 1.0), (False, False), ((0.0, 0.0),))
    write_front(two, "two", tmp_path / "two.json")
    with pytest.raises(SpecError, match="has 2 objectives, the experiment 3"):
        load_comparison(file, [f"front={tmp_path}/two.json"]).run(tmp_path / "out")
    facts = json.loads((tmp_path / "two.json").read_text())
    for damage in ({"front": [[0.0]]}, {"front": []}, {"low": "x"}):
        (tmp_path / "two.json").write_text(json.dumps({**facts, **damage}))
        with pytest.raises(SpecError, match="coevo exact"):
            read_front(str(tmp_path / "two.json"))


def test_a_space_without_end_is_refused_in_one_line(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coevo.compare.exact.MOST", 40)
    assert _run(["exact", str(file.parent / "small.yaml")]) == 2
    assert "72 networks; a true front is searched among 40 at most" in capsys.readouterr().err


def test_a_true_front_never_trains(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["exact", "digits_sizing"]) == 2
    assert "accuracy: would train every network" in capsys.readouterr().err


# -- figures ---------------------------------------------------------------------------------------------------


def test_costs_count_by_their_logarithm_and_the_front_has_its_own_hypervolume() -> None:
    measure = yardstick(np.array([[0.1, 1.0], [0.5, 0.1], [0.9, 10.0]]), [False, True], known=True)
    assert measure.logarithmic == (False, True)
    np.testing.assert_allclose(measure.scaled(np.array([[0.5, 1.0]])), [[0.5, 0.5]])
    assert len(measure.front) == 2
    # Staircase of (0, .5) and (.5, 0) below (1, 1).
    assert measure.volume == pytest.approx(0.75)


def test_the_distance_is_how_much_worse_the_nearest_design_is() -> None:
    measure = yardstick(np.array([[0.0, 1.0], [1.0, 0.0]]), [False, False], known=True)
    assert measure.distance(np.array(measure.front)) == 0
    # (0, 1) is missed by .5 in the second objective alone, (1, 0) not at all.
    assert measure.distance(np.array([[0.0, 1.5], [0.5, 0.0]])) == pytest.approx(0.25)
    assert measure.distance(np.empty((0, 2))) == np.inf


def test_a_history_is_read_at_the_last_design_within_the_budget() -> None:
    history, spent = np.array([0.1, 0.4, 0.6]), np.array([2, 2, 5])
    assert [after(history, spent, budget) for budget in (1, 2, 4, 5, 9)] == [0.0, 0.4, 0.4, 0.6, 0.6]


def test_holm_multiplies_the_least_by_all_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_tests_are_scipys_corrected_and_ranks_share_ties() -> None:
    rng = np.random.default_rng(0)
    values = {"a": rng.random(10), "b": rng.random(10) + 1, "c": rng.random(10) + 0.2}
    tests = rank_sum_tests(values)
    raw = [mannwhitneyu(values[x], values[y]).pvalue for x, y in (("a", "b"), ("a", "c"), ("b", "c"))]
    assert [tests["a", "b"], tests["a", "c"], tests["b", "c"]] == pytest.approx(holm(raw))
    assert tests["b", "a"] == tests["a", "b"]
    assert rank_sum_tests({"a": np.ones(5), "b": np.ones(5)})["a", "b"] == 1
    assert mean_ranks({"a": np.array([1.0, 2.0]), "b": np.array([1.0, 3.0])}) == {"a": 1.75, "b": 1.25}
