"""A run that starts from what others found."""

from __future__ import annotations

import csv
import itertools
import shutil

import pytest

from coevo.cli import main
from coevo.errors import RunError, SpecError
from coevo.experiment import load_experiment
from coevo.report import write_report
from coevo.study import load_results

FROM = "warm_start={runs: [first]}"


def networks(evaluations):
    return [tuple(item for item in e.genes.items() if item[0].startswith("net.")) for e in evaluations]


def taken(results):
    return [e for e in results.evaluations if e.step == -1]


@pytest.fixture
def first(run):
    return run("optimizer.mutate=0.8", "budget.designs=40", out="first")


@pytest.fixture
def elsewhere(workplace):
    """The same networks on another machine, of which nothing varies; runs it and returns its results."""
    text = (workplace / "machine.yaml").read_text().replace("name: small", "name: other").replace("rows: 4", "rows: 16")
    text = text.replace("size_kib: 8", "size_kib: 64")
    (workplace / "other.yaml").write_text(text.partition("vary:")[0])
    return "accelerators=[other.yaml]", "constraints={}"


def test_the_front_of_another_run_is_told_before_the_first_ask(run, first):
    results = run(FROM, "budget.designs=40", out="second")
    front = {d.evaluation.id: d.evaluation for d in first.front.designs}
    assert {e.id: (e.metrics, e.violation) for e in taken(results)} == {
        e.id: (e.metrics, e.violation) for e in front.values()
    }
    assert results.evaluations[: len(front)] == tuple(taken(results))
    assert results.origins == {name: f"first/{name}" for name in front}


def test_the_hypervolume_is_of_the_scale_that_the_runs_own_designs_span(run, first, workplace):
    with load_experiment(workplace / "tiny.yaml", [FROM, "budget.designs=40"]).study(workplace / "second") as study:
        assert {e.step for e in study.step()} == {-1}
        assert study.progress.hypervolume is None
        study.step()
        assert study.progress.hypervolume is not None


def test_an_accuracy_of_the_same_measurement_is_no_training(run, first, trained, workplace):
    count = len(trained())
    results = run(FROM, "budget.designs=40", out="second")
    new = set(networks(results.evaluations)) - {*networks(taken(results))}
    assert len(trained()) - count == results.trainings <= len(new)
    assert not {*trained()[count:]} & {d.design.network.key for d in first.front.designs}
    assert load_results(workplace / "second").trainings == results.trainings
    known = len({*networks(taken(results))})
    assert results.facts["warm start"] == (
        f"{len(taken(results))} designs from {len(first.front.designs)} on the front of first, "
        f"{known} accuracies taken over"
    )


@pytest.mark.parametrize("change", ["seed=5", "accuracy.noise=0.03"])
def test_where_it_was_measured_otherwise_the_networks_are_trained_first(run, first, trained, change):
    count = len(trained())
    results = run(FROM, change, "budget={trainings: 20}", out="second")
    wanted = {d.design.network.key for d in first.front.designs}
    assert {*trained()[count : count + len(wanted)]} == wanted
    assert results.trainings == 20


def test_their_trainings_are_within_the_budget(run, first, trained):
    count = len(trained())
    results = run(FROM, "seed=5", "budget={trainings: 2}", out="second")
    assert len(trained()) - count == results.trainings == 2
    assert {e.step for e in results.evaluations} == {-1}


def test_what_a_model_learnt_from_its_run_does_not_hold_in_another(workplace, first, trained):
    experiment = load_experiment(workplace / "tiny.yaml", [FROM, "budget={trainings: 20}"])
    experiment.plan.accuracy.independent = False
    count = len(trained())
    with experiment.study(workplace / "second") as study:
        study.run()
    assert {*trained()[count:]} >= {d.design.network.key for d in first.front.designs}


def test_another_space_of_the_same_name_is_another_measurement(run, first, trained, workplace):
    space = workplace / "space.yaml"
    space.write_text(space.read_text().replace("[4, 8, 16, 32]", "[4, 8, 16]"))
    count = len(trained())
    results = run(FROM, "budget.designs=40", out="second")
    lost = [d for d in first.front.designs if d.design.network.choices["width"] == 32]
    assert lost
    assert len(taken(results)) == len(first.front.designs) - len(lost)
    assert f"{len(lost)} left out that this space cannot express" in results.facts["warm start"]
    assert {*trained()[count:]} >= {d.design.network.key for d in first.front.designs if d not in lost}


def test_the_front_of_another_target_starts_the_search_for_this_one(run, first, trained, elsewhere, workplace):
    count = len(trained())
    results = run(FROM, *elsewhere, "budget.designs=20", out="second")
    keys = {d.design.network.key for d in first.front.designs}
    assert len(taken(results)) == len(keys)  # designs of one network are one here
    assert {*networks(taken(results))} == {*networks(d.evaluation for d in first.front.designs)}
    assert not {*trained()[count:]} & keys
    fresh = load_experiment(workplace / "tiny.yaml", elsewhere).evaluator
    for evaluation in taken(results):
        (score,) = fresh.score(fresh.joint.genome(evaluation.genes)[None, :])
        assert score.metrics["latency_ms"] == evaluation.metrics["latency_ms"] > 0


def test_a_network_from_elsewhere_goes_to_the_machine_as_it_stands(run, elsewhere):
    run(*elsewhere, out="first")
    results = run(FROM, "budget.designs=20", out="second")
    machines = {tuple(v for n, v in e.genes.items() if not n.startswith("net.")) for e in taken(results)}
    assert machines == {(4, 8)}


def test_fields_that_vary_in_both_keep_their_value_and_one_that_is_not_offered_is_left_out(run, first):
    vary = "accelerators=[{template: machine.yaml, vary: {pe_array.rows: {any_of: [1, 2, 8, 16]}}}]"
    results = run(FROM, vary, "budget.designs=40", out="second")
    rows = [e.genes["small.pe_array.rows"] for e in taken(results)]
    assert rows and {*rows} == {e.evaluation.genes["small.pe_array.rows"] for e in first.front.designs} - {4}


def test_it_ends_the_same_without_the_other_run_once_it_is_made(run, first, workplace):
    whole = run(FROM, "seed=5", "budget.designs=50", out="whole")
    with load_experiment(workplace / "tiny.yaml", [FROM, "seed=5", "budget.designs=50"]).study(
        workplace / "parts"
    ) as study:
        list(itertools.islice(study.iterate(), 2))
        assert study.progress.step == -1
    shutil.rmtree(workplace / "first")
    results = run(FROM, "seed=5", "budget.designs=50", out="parts")
    assert results.evaluations == whole.evaluations
    assert results.front.rows() == whole.front.rows()
    assert (results.facts, results.origins, results.trainings) == (whole.facts, whole.origins, whole.trainings)


def test_jobs_change_nothing(run, first):
    one, two = (run(FROM, "seed=5", "budget.designs=40", out=f"of{jobs}", jobs=jobs) for jobs in (1, 2))
    assert one.evaluations == two.evaluations


def test_another_start_is_another_experiment(run, first):
    run(FROM, "budget.designs=10", out="second")
    with pytest.raises(RunError, match="warm_start"):
        run("budget.designs=10", out="second")


def test_at_most_so_many_are_taken_of_the_runs_in_turn(run, first):
    run("seed=1", out="also")
    results = run("warm_start={runs: [first, also], most: 5, designs: all}", "budget.designs=40", out="second")
    assert [results.origins[e.id].partition("/")[0] for e in taken(results)] == [*("first", "also") * 2, "first"]


def test_tables_say_what_came_from_where(run, first, workplace):
    results = run(FROM, "budget.designs=20", out="second")
    write_report(results, workplace / "second")
    with (workplace / "second" / "designs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["id"]: row["origin"] for row in rows if row["origin"]} == results.origins
    assert "warm start" in (workplace / "second" / "report.html").read_text()
    write_report(first, workplace / "first")
    assert "origin" not in (workplace / "first" / "designs.csv").read_text()


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("{runs: [nowhere]}", "warm_start.runs.0: nowhere: no run here"),
        ("{runs: [first, .]}", "warm_start.runs.1: .: no run here"),
        ("{runs: []}", "warm_start.runs"),
        ("{runs: [first], designs: best}", "warm_start.designs"),
        ("{runs: [first], most: 0}", "warm_start.most"),
    ],
)
def test_a_run_that_is_none_is_one_line(run, workplace, monkeypatch, capsys, start, said):
    run("budget.designs=6", out="first")
    monkeypatch.chdir(workplace)
    with pytest.raises(SystemExit) as stop:
        main(["run", "tiny.yaml", "--set", f"warm_start={start}", "--out", "second"])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_start_of_which_nothing_fits_is_refused_with_the_reason(run, first, workplace):
    space = workplace / "space.yaml"
    space.write_text(space.read_text().replace("[4, 8, 16, 32]", "[5, 6]"))
    with pytest.raises(SpecError, match=r"warm_start\.runs: nothing in them can be used: .* of first: net\.width"):
        run(FROM, out="second")
