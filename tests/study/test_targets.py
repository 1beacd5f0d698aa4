"""One network for several machines."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from coevo.errors import SpecError
from coevo.experiment import load_experiment
from coevo.networks.cell import from_digits, to_digits, to_string
from coevo.report import read_design, write_report
from coevo.study import load_results

TARGETS = (
    "{edge: machine.yaml, phone: {template: machine.yaml, set: {pe_array.rows: 16, memories.buffer.size_kib: 64}}}"
)


@pytest.fixture
def several(workplace):
    """Writes the experiment for two targets; returns it with overrides."""
    text = (workplace / "tiny.yaml").read_text()
    text = text.replace("accelerators: [machine.yaml]", f"targets: {TARGETS}").replace("area_mm2: {max: 0.5}", "")
    (workplace / "tiny.yaml").write_text(text)

    def load(*overrides):
        return load_experiment(workplace / "tiny.yaml", overrides)

    return load


def figures(experiment, count=12):
    evaluator = experiment.evaluator
    genomes = evaluator.space.sample(np.random.default_rng(0), count)
    return evaluator, genomes, [score for score in evaluator.score(genomes) if score.violation == 0]


@pytest.mark.parametrize(("across", "total"), [("worst", max), ("mean", lambda a, b: (a + b) / 2)])
def test_figures_are_the_worst_or_the_mean_over_the_targets(several, across, total):
    _, _, scores = figures(several(f"across={across}", "objectives=[latency, throughput]"))
    assert scores
    for score in scores:
        of = score.metrics
        for column in ("latency_ms", "energy_mj", "area_mm2", "edp_mj_ms"):
            assert of[column] == pytest.approx(total(of[f"{column}@edge"], of[f"{column}@phone"]))
        rates = of["throughput_per_s@edge"], of["throughput_per_s@phone"]
        assert of["throughput_per_s"] == pytest.approx(min(rates) if across == "worst" else sum(rates) / 2)
        assert "macs@edge" not in of


def test_each_target_has_the_figures_that_it_has_alone(several, workplace):
    _, genomes, _ = figures(several())
    both = several().evaluator.score(genomes)
    alone = "accelerators=[{template: machine.yaml, vary: {}}]", "targets=null"
    edge = several(*alone).evaluator.score(genomes)
    for one, other in zip(both, edge, strict=True):
        if one.violation == 0:
            assert one.metrics["latency_ms@edge"] == other.metrics["latency_ms"]
        if other.violation > 0:  # the phone's buffer is larger
            assert one.reason == f"edge: {other.reason}"
            assert "latency_ms" not in one.metrics


def test_objectives_and_constraints_may_be_of_one_target(several):
    experiment = several("objectives=[latency@edge, latency@phone]", "constraints.latency_ms@edge.max=0.2")
    evaluator, genomes, _ = figures(experiment)
    values, violation = evaluator.hardware(genomes)
    scores = evaluator.score(genomes)
    assert (violation > 0).any() and (violation == 0).any()
    for row, score in zip(values, scores, strict=True):
        if score.violation == 0:
            assert row.tolist() == [score.metrics["latency_ms@edge"], score.metrics["latency_ms@phone"]]
        elif "latency_ms@edge" in score.metrics:
            assert score.reason.startswith("latency_ms@edge is ")


def test_only_the_network_varies_and_designs_are_those_of_all_targets(several):
    joint = several().joint
    assert joint.sizes == {"network": 48, "hardware": 1, "joint": 48}
    assert all(gene.name.startswith("net.") for gene in joint.space.genes)
    genome = np.zeros(len(joint.space.genes), dtype=np.int64)
    other = several("targets.phone.set={}").joint.design(genome)
    assert joint.design(genome).id != other.id


def test_the_run_reads_back_with_each_target_mapped_by_itself(several, workplace):
    with several("budget.designs=20").study(workplace / "run") as study:
        study.run()
        made = study.results()
    read = load_results(workplace / "run")
    assert read.front.rows() == made.front.rows()
    assert read.evaluations == made.evaluations
    assert "edge (small), phone (small, pe_array.rows 16" in read.facts["targets"]
    for design in read.front.designs:
        assert [label for label, _ in design.design.targets] == ["edge", "phone"]
        assert design.costs[0].latency_cycles > design.costs[1].latency_cycles


def test_jobs_change_nothing(several, workplace):
    found = []
    for jobs in (1, 2):
        with several("budget.designs=20").study(workplace / f"of{jobs}", jobs) as study:
            study.run()
            found.append(study.evaluations)
    assert found[0] == found[1]


def test_a_design_file_holds_every_target(several, workplace):
    real = "cost={name: analytical}", "objectives=[latency, energy]", "budget.designs=6"
    with several(*real).study(workplace / "run") as study:
        study.run()
        write_report(study.results(), workplace / "run")
    (first, *_) = (workplace / "run" / "front").glob("*.yaml")
    first_target, edge, phone = (read_design(first, label) for label in (None, "edge", "phone"))
    assert first_target == edge
    assert (edge.accelerator.pes, phone.accelerator.pes) == (16, 64)
    assert edge.workload == phone.workload
    assert {"latency_ms", "latency_ms@edge", "latency_ms@phone"} <= set(edge.metrics)
    with pytest.raises(SpecError, match="no target named 'phon'"):
        read_design(first, "phon")
    header = (workplace / "run" / "front.csv").read_text().splitlines()[0].split(",")
    assert {"latency_ms@edge", "energy_mj@phone"} <= set(header)


def test_the_front_of_one_machine_starts_the_search_for_several(several, workplace):
    alone = "accelerators=[machine.yaml]", "targets=null", "budget.designs=30"
    with several(*alone).study(workplace / "first") as study:
        keys = {design.design.network.key for design in study.run().designs}
    with several("warm_start={runs: [first]}", "budget.designs=20").study(workplace / "second") as study:
        study.run()
        results = study.results()
    assert len(results.origins) == len(keys)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("accelerators=[machine.yaml]", "targets: cannot stand beside accelerators"),
        ("targets=null", "accelerators: is missing"),
        ("targets={}", "targets: "),
        ("across=best", "across: "),
        ("targets.edge=machin.yaml", "targets.edge: no accelerator named 'machin.yaml'"),
        ("targets.phone.set.pe_array.row=4", "targets.phone.set.*pe_array.row"),
        ("targets.phone.set.pe_array.rows=-1", "targets.phone.set.pe_array.rows.*-1"),
        ("objectives=[latency@phon, energy]", "no target named 'phon' .did you mean 'phone'"),
        ("objectives=[error@edge, energy]", "error is the same on every target"),
        ("constraints={latency_ms@pone: {max: 1}}", "latency_ms@pone: no such metric"),
    ],
)
def test_mistakes_name_the_field(several, override, said):
    with pytest.raises(SpecError, match=said):
        several(override)


def test_what_targets_come_to_is_nothing_without_targets(several):
    with pytest.raises(SpecError, match="across: says nothing without targets"):
        several("accelerators=[machine.yaml]", "targets=null", "across=mean")


DEVICES = """
schema: 1
name: devices
network: {space: nasbench201}
targets:
  phone: {template: device, set: {device: small}}
  board: {template: device, set: {device: large}}
deployment: {resolution: 32, classes: 10}
objectives: [latency@phone, latency@board]
cost: {name: device_table, path: table.csv}
optimizer: {name: random, batch: 10}
budget: {designs: 20}
"""


@pytest.fixture
def devices(tmp_path):
    """Two devices of one table: small is slow at 3x3 convolutions, large at 1x1; some cells are on one alone."""
    rows = ["arch,small_latency_ms,large_latency_ms"]
    for digits in map("".join, product("01234", repeat=6)):
        small = "" if digits.startswith("0") else 1 + digits.count("3")
        rows.append(f"{to_string(from_digits(digits))},{small},{1 + 10 * digits.count('2')}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    (tmp_path / "devices.yaml").write_text(DEVICES)
    return lambda *overrides: load_experiment(tmp_path / "devices.yaml", overrides)


def test_two_devices_of_one_table_are_two_targets(devices, tmp_path):
    experiment = devices()
    with experiment.study(tmp_path / "run") as study:
        study.run()
        evaluations = study.evaluations
    assert any(evaluation.violation for evaluation in evaluations)
    for evaluation in evaluations:
        digits = to_digits(experiment.joint.network(np.array(evaluation.genome)).choices)
        if digits.startswith("0"):
            assert evaluation.reason.startswith("phone: the table has no latency of ")
            assert evaluation.reason.endswith(" on small")
        else:
            assert evaluation.metrics["latency_ms@phone"] == pytest.approx(1 + digits.count("3"))
            assert evaluation.metrics["latency_ms@board"] == pytest.approx(1 + 10 * digits.count("2"))
    (tmp_path / "table.csv").unlink()
    assert load_results(tmp_path / "run").evaluations == evaluations
    assert load_results(tmp_path / "run").front.rows()


def test_a_device_may_be_chosen_with_the_network(devices):
    section = "[{template: device, vary: {device: {any_of: [small, large]}}}]"
    experiment = devices("targets=null", f"accelerators={section}", "objectives=[latency, parameters]")
    _, _, scores = figures(experiment, 40)
    assert experiment.joint.sizes["hardware"] == 2
    assert {score.metrics["latency_ms"] < 10 for score in scores} == {True, False}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "targets.phone.set.device=smal",
            r"cost: the table has no device 'smal' \(did you mean 'small'.*\); an accelerator names it in its field",
        ),
        (
            "targets.phone.set={}",
            "cost: the accelerator device names no device; add `device` here",
        ),
        ("targets.phone.set.device=a b", r"targets.phone.set.device: .*'a b'"),
        ("cost.device=large", r"cost.device: 'large' stands here, and 'small' in an accelerator; remove one"),
        ("network.space=fbnet", r"with 100 classes, and are scored for 3 x 32 x 32 with 10; add `deployment"),
        ("network.space=digits_mbconv", "know the networks of spaces nasbench201 and fbnet alone"),
    ],
)
def test_devices_that_the_table_cannot_tell_of_are_refused(devices, override, said):
    with pytest.raises(SpecError, match=said):
        devices(override)
