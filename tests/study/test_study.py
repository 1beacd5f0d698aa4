from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from coevo import pareto
from coevo.errors import RunError
from coevo.experiment import load_experiment
from coevo.study import load_results


def facts_of(results):
    """All of a run that must not depend on how it was run."""
    return results.front.rows(), results.evaluations, results.trainings, results.trainings_saved


def test_the_front_is_feasible_nondominated_and_sorted(run):
    results = run()
    values = np.array([evaluation.values for evaluation in results.evaluations])
    violation = np.array([evaluation.violation for evaluation in results.evaluations])
    expected = {results.evaluations[i].id for i in np.flatnonzero(pareto.nondominated(values, violation))}
    assert {row["id"] for row in results.front.rows()} == expected
    errors = [row["error_pct"] for row in results.front.rows()]
    assert errors == sorted(errors)
    assert (violation > 0).any()


def test_rows_of_the_front_hold_genes_metrics_and_the_test_error_but_no_clock(run):
    row = run().front.rows()[0]
    assert {"id", "net.width", "small.pe_array.rows", "error_pct", "latency_ms", "area_mm2", "macs"} <= set(row)
    assert row["test_error_pct"] == pytest.approx(row["error_pct"] + 1)
    assert not [name for name in row if "second" in name]


def test_the_same_seed_gives_the_same_run_and_another_another(run):
    first, second, other = run(out="a"), run(out="b"), run("seed=1", out="c")
    assert facts_of(first) == facts_of(second)
    assert facts_of(first) != facts_of(other)


def test_jobs_change_nothing(run):
    assert facts_of(run(out="a", jobs=1)) == facts_of(run(out="b", jobs=2))


@pytest.mark.parametrize("designs", [1, 7, 33])
def test_a_budget_of_designs_is_spent_exactly(run, designs):
    assert len(run(f"budget.designs={designs}").evaluations) == designs


@pytest.mark.parametrize("trainings", [1, 5, 17])
def test_a_budget_of_trainings_is_spent_exactly(run, trained, trainings):
    results = run(f"budget={{trainings: {trainings}}}")
    assert results.trainings == trainings
    assert len(trained()) == len(set(trained())) == trainings


def test_infeasible_hardware_is_never_trained_and_the_savings_are_counted(run, trained):
    results = run("constraints.area_mm2.max=0.02")
    buildable, unbuildable = set(), set()
    for evaluation in results.evaluations:
        network = tuple(item for item in evaluation.genes.items() if item[0].startswith("net."))
        (unbuildable if evaluation.violation > 0 else buildable).add(network)
    assert len(trained()) == len(buildable) == results.trainings
    assert results.trainings_saved == len(unbuildable - buildable) > 0


def test_a_larger_budget_goes_on_to_the_same_end(run, trained):
    straight = run("budget.designs=50", out="straight")
    count = len(trained())
    run("budget.designs=20", out="parts")
    assert facts_of(run("budget.designs=50", out="parts")) == facts_of(straight)
    assert len(trained()) == 2 * count  # nothing was trained twice


def test_killed_after_the_last_training_it_still_finishes_the_batch(run, workplace):
    options = ("budget={trainings: 9}", "constraints.area_mm2.max=0.02")
    whole = run(*options)
    database = sqlite3.connect(workplace / "run" / "run.sqlite")
    last = "step = (SELECT max(step) FROM evaluations)"
    lost = database.execute(f"DELETE FROM evaluations WHERE training = '' AND {last}").rowcount
    database.commit()
    database.close()
    assert lost > 0
    assert facts_of(run(*options)) == facts_of(whole)


def test_a_budget_below_what_is_spent_is_refused(run):
    run("budget.designs=20")
    with pytest.raises(RunError, match=r"20 designs .* are spent, more than the budget of 10 designs"):
        run("budget.designs=10")


def test_a_finished_run_evaluates_nothing_more(run, trained):
    first = run()
    count = len(trained())
    assert facts_of(run()) == facts_of(first)
    assert len(trained()) == count


def test_a_time_limit_pauses_and_the_same_command_goes_on(run):
    whole = run("budget.designs=15", out="whole")
    limited = [run("budget={designs: 15, time_limit_s: 1e-9}", out="limited") for _ in range(16)]
    assert len(limited[0].evaluations) == 1  # one design per process at least
    assert facts_of(limited[-1]) == facts_of(whole)


def test_a_search_that_knows_every_design_ends(run):
    results = run("network.fixed={depth: 1, width: 8, kernel1: 3}", "budget.designs=1000", "optimizer.mutate=1.0")
    assert len(results.evaluations) == results.space_sizes["joint"] == 20


def test_stopping_anywhere_and_going_on_in_the_same_study_changes_nothing(workplace, run):
    whole = run(out="whole")
    with load_experiment(workplace / "tiny.yaml").study(workplace / "parts") as study:
        for count in itertools.count(1):
            snapshots = list(itertools.islice(study.iterate(), count))
            if snapshots[-1].ended:
                break
        assert facts_of(study.results()) == facts_of(whole)


def test_steps_return_what_was_asked(workplace):
    with load_experiment(workplace / "tiny.yaml", ["budget.designs=15"]).study(workplace / "run") as study:
        batches = list(iter(study.step, ()))
        assert [len(batch) for batch in batches[:2]] == [6, 6]
        assert {e.id for batch in batches for e in batch} == {e.id for e in study.evaluations}
        assert study.ended == "the budget is spent"


def test_progress_counts_and_improves(workplace):
    with load_experiment(workplace / "tiny.yaml").study(workplace / "run") as study:
        snapshots = list(study.iterate())
    assert [p.evaluations for p in snapshots] == [*range(1, 61), 60]
    assert [p.ended for p in snapshots] == [""] * 60 + ["the budget is spent"]
    volumes = [p.hypervolume for p in snapshots if p.hypervolume is not None]
    assert len(volumes) > 40
    assert volumes == sorted(volumes)
    assert volumes[-1] > volumes[0] > 0
    last = snapshots[-1]
    assert last.fraction == 1
    assert last.seconds_left == 0
    assert set(last.best) == {"error_pct", "latency_ms", "energy_mj"}
    assert last.best["latency_ms"] == min(
        e.metrics["latency_ms"] for e in load_results(workplace / "run").evaluations if e.violation == 0
    )
    assert last.trainings + last.infeasible <= 60


def test_a_changed_experiment_is_refused_with_the_difference(run, workplace):
    run("budget.designs=6")
    with pytest.raises(RunError, match=r"\(seed: 0 -> 3\); .*--out") as caught:
        run("budget.designs=6", "seed=3")
    assert "\n" not in str(caught.value)
    machine = workplace / "machine.yaml"
    machine.write_text(machine.read_text().replace("clock_mhz: 100", "clock_mhz: 150"))
    with pytest.raises(RunError, match=r"accelerators\.small\.file\.clock_mhz: 100 -> 150"):
        run("budget.designs=6")


def test_a_changed_plugin_is_another_experiment(run, workplace):
    plugin = workplace / "mine.py"
    text = "from coevo.metrics import metric\n@metric('W')\ndef power(cost):\n    return 1.0\n"
    plugin.write_text(text)
    options = ("budget.designs=6", "objectives=[latency, 'mine.py:power']", "accuracy.delay_s=0")
    run(*options)
    plugin.write_text(text.replace("1.0", "2.0"))
    with pytest.raises(RunError, match=r"plugins\.mine\.py:power: '\w+' -> '\w+'"):
        run(*options)


def test_comments_prose_jobs_and_limits_are_no_change(run, workplace):
    run("budget.designs=6")
    for name in ("tiny.yaml", "machine.yaml"):
        path = workplace / name
        path.write_text(f"# a remark\n{path.read_text()}")
    run("budget.designs=12", "budget.time_limit_s=100", "description=other words", jobs=2)


def test_a_run_that_would_diverge_is_refused(run, workplace):
    run("budget.designs=40")
    database = sqlite3.connect(workplace / "run" / "run.sqlite")
    (best,) = database.execute("SELECT min(rowid) FROM evaluations WHERE violation > 0").fetchone()
    database.execute("UPDATE evaluations SET violation = 0, objectives = '[0, 0, 0]' WHERE rowid = ?", (best,))
    database.commit()
    database.close()
    with pytest.raises(RunError, match=r"cannot be replayed.*numpy .* -> "):
        run("budget.designs=50")


def test_results_are_read_without_the_files_from_anywhere(run, workplace, tmp_path_factory, monkeypatch):
    made = run()
    (workplace / "machine.yaml").unlink()
    (workplace / "tiny.yaml").unlink()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    read = load_results(workplace / "run")
    assert facts_of(read) == facts_of(made)
    assert (read.facts, read.settings, read.quantities) == (made.facts, made.settings, made.quantities)
    assert read.facts["budget"] == "60 designs"


def test_results_can_be_read_while_a_run_goes_on(workplace):
    with load_experiment(workplace / "tiny.yaml").study(workplace / "run") as study:
        next(study.iterate())
        assert len(load_results(workplace / "run").evaluations) == 1


def test_the_settings_in_a_run_are_an_experiment_themselves(run, workplace):
    (workplace / "again.yaml").write_text(run("budget.designs=6").settings)
    again = load_experiment(workplace / "again.yaml")
    assert again.plan.hash == load_experiment(workplace / "tiny.yaml").plan.hash


def test_python_in_a_run_folder_is_not_run(run, workplace):
    folder = workplace / "run"
    folder.mkdir()
    text = (Path(__file__).parents[1] / "evaluate" / "codesign_fakes.py").read_text()
    (folder / "mine.py").write_text(text)
    run(f"cost.name={folder}/mine.py:CostModel", "budget.designs=6")
    with pytest.raises(RunError, match="Python files in a run folder are not run"):
        load_results(folder)
