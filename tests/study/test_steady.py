"""Steady state: trainings are told as they end, and the log keeps in which order that was."""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
from pathlib import Path

import pytest
from test_killed import start, wait_for

from coevo.cli import main
from coevo.errors import RunError
from coevo.experiment import load_experiment
from coevo.study import load_results
from coevo.study.store import Store

FAKES = Path(__file__).parents[1] / "evaluate" / "codesign_fakes.py"
TIMED = f"accuracy.name={FAKES}:TimedAccuracyModel"
STEADY = (TIMED, "steady_state={in_flight: 4}")


def facts_of(results):
    return results.front.rows(), results.evaluations, results.trainings, results.trainings_saved


def events_of(folder):
    store = Store(folder, read_only=True)
    try:
        return store.events()
    finally:
        store.close()


def told_in(folder):
    return [event.places for event in events_of(folder) if event.kind == "tell"]


@pytest.fixture
def sessions(workplace):
    """Runs the experiment and returns what its trainings say of themselves."""

    def start_run(*overrides, jobs, out):
        experiment = load_experiment(workplace / "tiny.yaml", overrides)
        with experiment.study(workplace / out, jobs) as study:
            study.run()
        return experiment.plan.accuracy.sessions

    return start_run


def test_as_many_trainings_are_in_flight_as_the_experiment_says_until_the_last(sessions):
    for jobs, most in ((1, 3), (2, 5), (4, 4)):
        (session,) = sessions(
            TIMED, f"steady_state={{in_flight: {most}}}", "budget={trainings: 25}", jobs=jobs, out=f"run{jobs}"
        )
        assert session.flying == [most] * (26 - most) + list(range(most - 1, 0, -1))


def test_no_worker_is_idle_before_the_last_trainings_begin_while_in_batches_they_wait(sessions):
    budget = "budget={trainings: 25}"
    (steady,) = sessions(*STEADY, budget, jobs=4, out="steady")
    batches = sessions(TIMED, budget, jobs=4, out="batches")
    assert steady.idle <= 3 * 20  # what the last three leave free, at most the longest training each
    assert steady.idle / steady.worked < 0.2
    assert sum(one.idle for one in batches) / sum(one.worked for one in batches) > 0.5


def test_with_one_worker_the_same_seed_gives_the_same_run_and_another_another(run):
    first, second, other = run(*STEADY, out="a"), run(*STEADY, out="b"), run(*STEADY, "seed=1", out="c")
    assert facts_of(first) == facts_of(second)
    assert facts_of(first) != facts_of(other)


def test_a_result_is_told_before_the_next_training_begins_whatever_ends_first(run, workplace):
    run(*STEADY, "optimizer.batch=1", "budget={trainings: 20}", jobs=3)
    kinds = [event.kind for event in events_of(workplace / "run") if event.training or len(event.places)]
    started = list(itertools.accumulate(1 if kind == "start" else 0 for kind in kinds))
    assert started[-1] == 20
    order = [places for places in told_in(workplace / "run") if places]
    assert order != sorted(order)


def test_all_designs_of_a_network_that_were_asked_for_while_it_was_trained_are_told_with_it(run, workplace):
    run(*STEADY, "budget.designs=90", "optimizer={batch: 3, mutate: 0.2}", f"optimizer.name={FAKES}:Optimizer", jobs=4)
    store = Store(workplace / "run", read_only=True)
    trainings = {(row.step, row.position): row.training for row in store.rows() if row.training}
    store.close()
    asks, landed, late = 0, set(), 0
    for event in events_of(workplace / "run"):
        asks += event.kind == "ask"
        if event.kind == "start":
            landed.add(event.training)
        if event.kind == "tell" and (keys := {trainings.get(place) for place in event.places} & landed):
            (key,) = keys
            landed.remove(key)
            waiting = {place for place, other in trainings.items() if other == key and place[0] < asks}
            assert waiting == set(event.places)
            late += len({step for step, _ in waiting}) > 1
    assert late


@pytest.mark.parametrize("designs", [1, 7, 33])
def test_a_budget_of_designs_is_spent_exactly(run, designs):
    assert len(run(*STEADY, f"budget.designs={designs}", jobs=3).evaluations) == designs


@pytest.mark.parametrize("trainings", [1, 3, 17])
def test_a_budget_of_trainings_is_spent_exactly_and_those_in_flight_at_the_end_count(run, trained, trainings):
    results = run(*STEADY, f"budget={{trainings: {trainings}}}", jobs=3)
    assert results.trainings == trainings
    assert len(trained()) == len(set(trained())) == trainings


def test_a_ranking_without_training_goes_on_exactly_with_one_worker_from_anywhere(workplace, run):
    ranked = ("accuracy=null", "accuracy={name: zero_cost, data: digits, proxies: [macs], reference: 4}", *STEADY[1:])
    whole = run(*ranked, out="whole")
    ended = ""
    while not ended:
        with load_experiment(workplace / "tiny.yaml", ranked).study(workplace / "parts") as study:
            ended = list(itertools.islice(study.iterate(), 3))[-1].ended
    assert facts_of(load_results(workplace / "parts")) == facts_of(whole)
    assert events_of(workplace / "parts") == events_of(workplace / "whole")
    assert max(len(told) for told in told_in(workplace / "whole")) >= 1 and len(whole.evaluations) == 60


def test_failed_trainings_are_told_and_not_repeated(run, trained):
    results = run(*STEADY, "accuracy.fails=3", jobs=2)
    failed = [evaluation for evaluation in results.evaluations if evaluation.reason == "diverged"]
    assert failed
    assert len(results.evaluations) == 60
    assert len(trained()) == len(set(trained())) == results.trainings


def test_stopped_anywhere_with_one_worker_and_resumed_it_is_the_run_that_was_not(workplace, run):
    whole = run(*STEADY, out="whole")
    for new in (False, True):
        folder = workplace / f"parts{new}"
        experiment = load_experiment(workplace / "tiny.yaml", STEADY)
        study = experiment.study(folder)
        for count in itertools.count(1):
            if list(itertools.islice(study.iterate(), count))[-1].ended:
                break
            if new:
                study.close()
                study = experiment.study(folder)
        assert facts_of(study.results()) == facts_of(whole)
        study.close()
        assert events_of(folder) == events_of(workplace / "whole")


def test_a_training_that_begins_anew_knows_what_it_knew_before(workplace):
    budget = "budget={trainings: 20}"
    straight = load_experiment(workplace / "tiny.yaml", (*STEADY, budget))
    with straight.study(workplace / "straight") as study:
        study.run()
    known = straight.plan.accuracy.histories
    assert len(set(known.values())) > 10
    parts = load_experiment(workplace / "tiny.yaml", (*STEADY, budget))
    ended = ""
    while not ended:
        with parts.study(workplace / "parts") as study:
            ended = next(study.iterate()).ended
    assert parts.plan.accuracy.histories == known


@pytest.mark.parametrize("seed", ["seed=0", "seed=5"])
def test_what_other_runs_gave_is_begun_first_and_resumed_anywhere(workplace, run, trained, seed):
    run(TIMED, "optimizer.mutate=0.8", "budget.designs=40", out="first")
    count = len(trained())
    overrides = (*STEADY, seed, "budget.designs=60", f"warm_start={{runs: [{workplace / 'first'}]}}")
    whole = run(*overrides, out="whole")
    begun = {evaluation.id for evaluation in whole.evaluations if evaluation.step == -1}
    assert (
        begun
        == set(whole.origins)
        == {design.evaluation.id for design in load_results(workplace / "first").front.designs}
    )
    begun_in_turn = [min(event.places) for event in events_of(workplace / "whole") if event.kind == "start"]
    assert [step for step, _ in begun_in_turn] == sorted(step for step, _ in begun_in_turn)
    assert len(trained()) - count == whole.trainings > 10
    assert len(whole.evaluations) == 60
    experiment, ended = load_experiment(workplace / "tiny.yaml", overrides), ""
    while not ended:
        with experiment.study(workplace / "parts") as study:
            ended = list(itertools.islice(study.iterate(), 2))[-1].ended
    assert facts_of(load_results(workplace / "parts")) == facts_of(whole)
    assert events_of(workplace / "parts") == events_of(workplace / "whole")


@pytest.mark.parametrize("jobs", [2, 3])
def test_resumed_with_several_workers_it_goes_on_from_what_happened(workplace, run, trained, jobs):
    experiment = load_experiment(workplace / "tiny.yaml", STEADY)
    before, parts = [], []
    for count in (5, 9, 14):
        with experiment.study(workplace / "run", jobs) as study:
            list(itertools.islice(study.iterate(), count))
            parts.append(study.evaluations)
        assert told_in(workplace / "run")[: len(before)] == before
        before = told_in(workplace / "run")
    results = run(*STEADY, jobs=jobs)
    assert told_in(workplace / "run")[: len(before)] == before
    assert len(results.evaluations) == 60
    known = {evaluation.id: evaluation for evaluation in results.evaluations}
    assert all(known[one.id] == one for part in parts for one in part)
    assert len(trained()) == results.trainings  # by this model's clock nothing ends that is not taken note of
    assert facts_of(run(*STEADY, jobs=jobs)) == facts_of(results)


def test_killed_three_times_nothing_is_lost_and_only_what_was_in_flight_is_trained_twice(workplace, trained):
    slow = (*STEADY, "accuracy.delay_s=0.02", "budget.designs=70")
    told = []
    for _ in range(3):
        process = start(workplace, "killed", *slow)
        wait_for(process, workplace / "journal", len(trained()) + 6)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        now = told_in(workplace / "killed")
        assert now[: len(told)] == told
        assert len(now) > len(told)
        told = now
    process = start(workplace, "killed", *slow)
    assert process.communicate() == (None, "")
    results = load_results(workplace / "killed")
    assert told_in(workplace / "killed")[: len(told)] == told
    assert len(results.evaluations) == 70
    assert results.trainings <= len(trained()) <= results.trainings + 3 * 4


def test_an_accuracy_that_was_found_but_not_told_before_a_kill_is_not_trained_again(workplace, run, trained):
    whole = run(*STEADY, out="whole")
    count = len(trained())
    run(*STEADY, out="killed")
    database = sqlite3.connect(workplace / "killed" / "run.sqlite")
    last = database.execute("SELECT number, places FROM events WHERE kind = 'tell' ORDER BY number").fetchall()[-8:]
    for number, _ in last:
        database.execute("DELETE FROM events WHERE number >= ?", (number,))
    kept = {tuple(place) for places in told_in_database(database) for place in places}
    for step, position in database.execute("SELECT step, position FROM evaluations").fetchall():
        if (step, position) not in kept:
            database.execute("DELETE FROM evaluations WHERE step = ? AND position = ?", (step, position))
    database.commit()
    database.close()
    assert facts_of(run(*STEADY, out="killed")) == facts_of(whole)
    assert len(trained()) == 2 * count


def told_in_database(database):
    return [json.loads(places) for (places,) in database.execute("SELECT places FROM events WHERE kind = 'tell'")]


def test_a_larger_budget_goes_on_and_a_smaller_one_lets_go_of_what_it_does_not_allow(workplace, run, trained):
    run(*STEADY, "budget.designs=20", jobs=2)
    results = run(*STEADY, "budget.designs=50", jobs=2)
    assert len(results.evaluations) == 50
    assert len(trained()) == len(set(trained()))
    with load_experiment(workplace / "tiny.yaml", STEADY).study(workplace / "less", 2) as study:
        list(itertools.islice(study.iterate(), 9))
        known = study.progress.evaluations
        assert study.progress.in_flight >= 3
    results = run(*STEADY, f"budget.designs={known + 2}", out="less")
    assert len(results.evaluations) == known + 2
    assert len(run(*STEADY, "budget.designs=40", out="less").evaluations) == 40
    assert facts_of(run(*STEADY, "budget.designs=40", out="less")) == facts_of(load_results(workplace / "less"))


def test_a_time_limit_pauses_and_the_same_command_goes_on(run):
    whole = run(*STEADY, "budget.designs=15", out="whole")
    limited = [run(*STEADY, "budget={designs: 15, time_limit_s: 1e-9}", out="limited") for _ in range(16)]
    assert len(limited[0].evaluations) < 15
    assert facts_of(limited[-1]) == facts_of(whole)


def test_steps_return_what_was_told_and_leave_trainings_in_flight(workplace):
    with load_experiment(workplace / "tiny.yaml", (*STEADY, "budget.designs=15")).study(workplace / "run") as study:
        told = study.step()
        assert told
        assert study.progress.in_flight == 4
        rest = list(iter(study.step, ()))
        assert {e.id for batch in (told, *rest) for e in batch} == {e.id for e in study.evaluations}
        assert study.ended == "the budget is spent"
        assert study.progress.in_flight == 0


def test_progress_counts_improves_and_tells_what_is_in_flight(workplace):
    with load_experiment(workplace / "tiny.yaml", STEADY).study(workplace / "run", 2) as study:
        snapshots = list(study.iterate())
    counts = [p.evaluations for p in snapshots]
    assert counts == sorted(counts)
    assert (counts[-1], snapshots[-1].ended, snapshots[-1].in_flight) == (60, "the budget is spent", 0)
    assert max(p.in_flight for p in snapshots) == 4
    volumes = [p.hypervolume for p in snapshots if p.hypervolume is not None]
    assert len(volumes) > 20
    assert volumes == sorted(volumes)


def test_a_search_that_knows_every_design_ends(run):
    fixed = "network.fixed={depth: 1, width: 8, kernel1: 3}"
    results = run(*STEADY, fixed, "budget.designs=1000", "optimizer.mutate=1.0")
    assert len(results.evaluations) == results.space_sizes["joint"] == 20
    results = run(*STEADY, "optimizer={name: random}", "budget.designs=100000", "network.fixed.depth=1", fixed, out="r")
    assert len(results.evaluations) == 20


@pytest.mark.parametrize("offspring", [1, 8])
def test_nsga2_with_its_pairings_tells_all_designs_of_a_training_together(run, workplace, offspring):
    optimizer = f"optimizer={{name: nsga2, offspring: {offspring}, initial: 4, trials: 4, inner_generations: 2}}"
    results = run(*STEADY, optimizer, "budget={trainings: 14}", jobs=2)
    assert results.trainings == 14
    assert max(map(len, told_in(workplace / "run"))) > 1
    assert facts_of(run(*STEADY, optimizer, "budget={trainings: 14}", jobs=2)) == facts_of(results)


def test_it_is_part_of_what_the_run_is(run):
    run(TIMED, "budget.designs=6")
    with pytest.raises(RunError, match=r"\(steady_state: None -> \{'in_flight': 4\}\)"):
        run(*STEADY, "budget.designs=6")
    run(*STEADY, "budget.designs=6", out="steady")
    with pytest.raises(RunError, match=r"steady_state\.in_flight: 4 -> 5"):
        run(TIMED, "steady_state={in_flight: 5}", "budget.designs=6", out="steady")
    assert "steady state, 4 trainings in flight" in run(*STEADY, "budget.designs=6", out="steady").facts.values()


def test_a_run_that_would_diverge_is_refused(run, workplace):
    run(*STEADY, "budget.designs=40")
    database = sqlite3.connect(workplace / "run" / "run.sqlite")
    (best,) = database.execute("SELECT min(rowid) FROM evaluations WHERE violation > 0").fetchone()
    database.execute("UPDATE evaluations SET violation = 0, objectives = '[0, 0, 0]' WHERE rowid = ?", (best,))
    database.commit()
    database.close()
    with pytest.raises(RunError, match=r"cannot be replayed.*numpy .* -> "):
        run(*STEADY, "budget.designs=50")


def test_a_log_without_its_events_is_refused(run, workplace):
    run(*STEADY, "budget.designs=10")
    database = sqlite3.connect(workplace / "run" / "run.sqlite")
    database.execute("DELETE FROM events")
    database.commit()
    database.close()
    with pytest.raises(RunError, match="the log is damaged: it lacks when designs were told"):
        run(*STEADY, "budget.designs=20")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("objectives=[latency, energy]", "steady_state: nothing is trained, so no worker ever waits"),
        ("accuracy={name: predictor, of: {name: train, data: digits}}", "'predictor' scores the networks of a batch"),
        ("accuracy={name: cascade, rungs: [{model: {name: train, data: digits}}]}", "'cascade' scores the networks of"),
        ("steady_state={in_flight: 0}", "steady_state.in_flight"),
    ],
)
def test_what_steady_state_cannot_do_is_refused_in_one_line(workplace, capsys, given, said):
    with pytest.raises(SystemExit) as stop:
        main(["run", str(workplace / "tiny.yaml"), "--set", "steady_state={in_flight: 4}", "--set", given])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
