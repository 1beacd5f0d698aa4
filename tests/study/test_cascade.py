"""A run whose accuracy model is a cascade, and the final trainings: what is compared, and what a kill changes."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from coevo.errors import SpecError
from coevo.experiment import load_experiment
from coevo.study import load_results

FAKES = Path(__file__).parents[1] / "evaluate" / "codesign_fakes.py"


@pytest.fixture
def cascade(workplace: Path):
    """Overrides that make the experiment's accuracy a cascade; each rung writes a journal of its own."""

    def rung(number: int, **more: object) -> str:
        extra = "".join(f", {key}: {value}" for key, value in more.items())
        return f'{{name: "{FAKES}:AccuracyModel", journal: "{workplace}/rung{number}", fidelity: rung {number}{extra}}}'

    def overrides(keep: float = 0.4, rungs: int = 2, **more: object) -> tuple[str, ...]:
        models = [rung(i + 1, **more) for i in range(rungs)]
        listed = ", ".join(f"{{model: {model}, keep: {keep}}}" for model in models)
        return (f"accuracy={{name: cascade, rungs: [{listed}]}}", "budget={trainings: 40}")

    return overrides


@pytest.fixture
def scored(workplace: Path):
    """Returns the keys of the networks that a rung scored, in order."""

    def read(number: int) -> list[str]:
        return (workplace / f"rung{number}").read_text().split()

    return read


def facts_of(results):
    return results.front.rows(), results.evaluations, results.trainings


def test_the_last_rung_sees_few_and_gives_all_figures(run, cascade, scored):
    results = run(*cascade())
    assert len(scored(1)) == len(set(scored(1))) == results.trainings
    assert len(scored(2)) == len(set(scored(2))) == 0.4 * 40
    feasible = [evaluation for evaluation in results.evaluations if evaluation.violation == 0]
    stopped = [evaluation for evaluation in results.evaluations if evaluation.reason.startswith("stopped at rung 1")]
    assert {evaluation.fidelity for evaluation in feasible} == {"rung 2"}
    assert {evaluation.fidelity for evaluation in stopped} == {"rung 1"}
    assert all("error_pct" not in evaluation.metrics for evaluation in stopped)
    assert {row["fidelity"] for row in results.front.rows()} == {"rung 2"}


def test_networks_that_come_further_violate_less(run, cascade):
    results = run(*cascade(rungs=3))
    violation = {
        rung: [e.violation for e in results.evaluations if e.reason.startswith(f"stopped at rung {rung}")]
        for rung in (1, 2)
    }
    assert 1 > min(violation[1]) > max(violation[2]) > 0


def test_jobs_and_kills_at_any_design_change_nothing_and_nothing_is_scored_twice(workplace, run, cascade, scored):
    overrides = (*cascade(), "budget={designs: 40}")
    whole = run(*overrides, out="whole")
    assert facts_of(run(*overrides, out="parallel", jobs=2)) == facts_of(whole)
    for journal in workplace.glob("rung*"):
        journal.unlink()
    experiment = load_experiment(workplace / "tiny.yaml", overrides)
    for count in itertools.count(1):
        with experiment.study(workplace / "parts") as study:  # opened anew: as after a kill
            snapshots = list(itertools.islice(study.iterate(), 1 + count % 4))
            if snapshots[-1].ended:
                break
    assert facts_of(load_results(workplace / "parts")) == facts_of(whole)
    for number in (1, 2):
        assert len(scored(number)) == len(set(scored(number)))


def test_a_failure_on_any_rung_is_a_failure_with_its_reason(run, cascade):
    results = run(*cascade(fails=3))
    reasons = {evaluation.reason.split(":")[0] for evaluation in results.evaluations if evaluation.violation > 0}
    assert "diverged" in reasons


def test_rungs_of_different_data_are_refused(workplace):
    (workplace / "other.csv").write_text("arch,c10_valid200\n")
    rungs = "[{model: {name: train, data: digits}}, {model: {name: table, file: other.csv}}]"
    with pytest.raises(SpecError, match="rung 1 is for"):
        load_experiment(workplace / "tiny.yaml", [f"accuracy={{name: cascade, rungs: {rungs}}}"])


@pytest.mark.parametrize(
    ("rungs", "problem"),
    [
        ("[]", "at least 1"),
        ("[{model: {name: trian}}]", "did you mean 'train'"),
        ("[{model: {name: train, epoch: 3}}]", "epoch"),
        ("[{model: {name: train}, keep: 0}]", "greater than 0"),
        ("3", "rungs"),
    ],
)
def test_mistakes_in_rungs_name_the_field(workplace, rungs, problem):
    with pytest.raises(SpecError, match=problem) as error:
        load_experiment(workplace / "tiny.yaml", [f"accuracy={{name: cascade, rungs: {rungs}}}"])
    assert error.value.field.startswith("accuracy")


# -- final trainings -------------------------------------------------------------------------------------------


def final(workplace: Path, seeds: int = 3, **more: object) -> str:
    extra = "".join(f", {key}: {value}" for key, value in more.items())
    model = f'{{name: "{FAKES}:AccuracyModel", journal: "{workplace}/final", fidelity: in full{extra}}}'
    return f"final={{seeds: {seeds}, accuracy: {model}}}"


def test_the_front_is_trained_anew_over_seeds_and_both_figures_are_kept(workplace, run):
    results = run(final(workplace))
    networks = {design.design.network.key for design in results.front.designs}
    assert sorted((workplace / "final").read_text().split()) == sorted([*networks] * 3)
    for design in results.front.designs:
        assert design.final is not None
        assert len(set(design.final.errors)) == 3
        assert design.extras["final_error_pct"] == pytest.approx(100 * np.mean(design.final.errors))
        assert design.extras["final_error_std_pct"] == pytest.approx(100 * np.std(design.final.errors, ddof=1))
        assert design.extras["final_test_error_pct"] == pytest.approx(design.extras["final_error_pct"] + 1)
    assert facts_of(load_results(workplace / "run")) == facts_of(results)


def test_final_trainings_change_nothing_that_the_search_found(workplace, run):
    plain, also = run(out="plain"), run(final(workplace), out="also")
    assert [d.evaluation for d in plain.front.designs] == [d.evaluation for d in also.front.designs]


def test_designs_that_the_final_figures_dominate_are_marked(workplace, run):
    results = run(final(workplace, noise=0.5))
    points = [(100 * d.final.error, *d.evaluation.values[1:], d.final.stands) for d in results.front.designs if d.final]
    for point in points:
        dominated = any(
            all(o <= p for o, p in zip(other[:-1], point[:-1], strict=True)) and other[:-1] != point[:-1]
            for other in points
        )
        assert point[-1] is not dominated
    assert {point[-1] for point in points} == {True, False}


def test_killed_within_the_final_trainings_it_does_the_rest_alone(workplace, run):
    with load_experiment(workplace / "tiny.yaml", [final(workplace)]).study(workplace / "parts") as study:
        list(study.iterate())
        list(itertools.islice(study.train_front(), 5))
    before = (workplace / "final").read_text().split()
    whole = run(final(workplace), out="parts")
    assert (workplace / "final").read_text().split()[: len(before)] == before
    done = (workplace / "final").read_text().split()
    assert len(done) == 3 * len(set(done))
    assert facts_of(run(final(workplace), out="again")) == facts_of(whole)


def test_a_network_whose_final_trainings_fail_leaves_the_final_front(workplace, run):
    results = run(final(workplace, fails=2))
    failed = [d for d in results.front.designs if d.final is not None and not d.final.errors]
    assert failed
    assert not any(design.final.stands for design in failed if design.final)
    assert all("diverged" in design.final.reason for design in failed if design.final)


def test_a_final_section_where_nothing_is_trained_is_refused(workplace):
    with pytest.raises(SpecError, match="final: nothing is trained"):
        load_experiment(
            workplace / "tiny.yaml",
            ["objectives=[latency, energy]", "final={seeds: 1}", "deployment={resolution: 8, classes: 10}"],
        )
