"""Fronts on each other's machines."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from coevo.cli import main
from coevo.correlate.cross import cross, excess, read_front
from coevo.errors import SpecError
from coevo.experiment import load_experiment

MACHINE = "{{template: machine.yaml, set: {{memories.buffer.size_kib: 64, pe_array.rows: {rows}}}}}"
ONE = f"targets={{only: {MACHINE.format(rows=4)}}}", "accelerators=null", "constraints={}"
TWO = f"targets={{slow: {MACHINE.format(rows=1)}, fast: {MACHINE.format(rows=16)}}}", *ONE[1:]


def test_excess_is_over_the_least_of_equal_or_lower_error():
    own_errors, own_costs = np.array([10.0, 20.0, 30.0]), np.array([4.0, 2.0, 1.0])
    errors, costs = np.array([9.0, 10.0, 25.0, 40.0]), np.array([1.0, 6.0, 3.0, 0.5])
    # The first has none to be held against; then 6 / 4, 3 / 2 and 0.5 / 1.
    assert excess(errors, costs, own_errors, own_costs) == pytest.approx(0.5)
    assert math.isnan(excess(errors[:1], costs[:1], own_errors, own_costs))


def test_a_front_on_its_own_machine_has_all_of_the_hypervolume(run, workplace):
    run(*ONE, out="a")
    run(*TWO, "seed=0", out="b")
    found = cross([read_front(workplace / name, name) for name in "ab"], 20)
    assert [label for label, _ in found.machines] == ["a@only", "b@slow", "b@fast"]
    assert len(found.transfers) == 6 and len(found.rankings) == 3
    assert found.alike
    for transfer in found.transfers:
        if transfer.machine.startswith(transfer.front):
            assert transfer.hypervolume == 1
            assert min(transfer.excess.values()) >= 0


def test_networks_are_scored_as_their_machine_would_be_alone(run, workplace):
    results = run(*ONE, out="a")
    run(*TWO, out="b")
    front, other = (read_front(workplace / name, name) for name in "ab")
    fast = other.machines[1].score(front.networks)
    evaluator = load_experiment(workplace / "tiny.yaml", TWO).evaluator
    genomes = np.array([d.evaluation.genome for d in results.front.designs])
    keys = [d.design.network.key for d in results.front.designs]
    for network, figures in zip(front.networks, fast, strict=True):
        (score,) = evaluator.score(genomes[[keys.index(network.key)]])
        known = [score.metrics[f"{column}@fast"] for column in ("latency_ms", "energy_mj", "edp_mj_ms")]
        assert figures.tolist() == pytest.approx(known)


def test_machines_that_differ_in_speed_alone_rank_networks_alike(run, workplace):
    run(*TWO, out="b")
    (ranking,) = cross([read_front(workplace / "b", "b")], 30).rankings
    assert ranking.machines == ("b@slow", "b@fast")
    assert [ranking.spearman["latency"], ranking.kendall["latency"]] == pytest.approx([1, 1])
    assert ranking.networks > 20


def test_of_machines_that_vary_the_knees_is_taken_and_said(run, workplace):
    run(out="a")
    front = read_front(workplace / "a", "a")
    (machine,) = front.machines
    assert machine.label == "a" and "of the front's knee, " in machine.origin
    with pytest.raises(SpecError, match="one machine alone"):
        cross([front], 10)


def test_networks_that_a_space_does_not_have_are_left_out(run, workplace):
    run(*ONE, out="a")
    space = workplace / "space.yaml"
    wide = {n.key for n in read_front(workplace / "a", "a").networks if n.choices["width"] == 32}
    space.write_text(space.read_text().replace("[4, 8, 16, 32]", "[4, 8, 16]"))
    run(*ONE, out="b")
    found = cross([read_front(workplace / name, name) for name in "ab"], 20)
    (there,) = (t for t in found.transfers if (t.front, t.machine) == ("a", "b@only"))
    assert there.left_out == len(wide) > 0
    assert not found.alike


def test_the_command_prints_and_writes_the_tables_and_trains_nothing(run, workplace, trained, capsys):
    run(*ONE, out="a")
    run(*TWO, "seed=1", out="b")
    count = len(trained())
    with pytest.raises(SystemExit) as stop:
        main(["cross", str(workplace / "a"), str(workplace / "b"), "--out", str(workplace / "c"), "--networks", "20"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert "b@fast: target fast (small)" in out and "did not measure errors alike" in out
    assert len(trained()) == count
    for name, rows in (("transfer.csv", 6), ("ranking.csv", 3)):
        with (workplace / "c" / name).open() as file:
            assert len(list(csv.DictReader(file))) == rows


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("objectives=[latency, energy]",), "the run knows no errors"),
        (("constraints.area_mm2.max=1e-9", "budget.designs=6"), "no design of the run is feasible yet"),
    ],
)
def test_a_run_without_errors_or_front_is_refused(run, workplace, overrides, said):
    run(*overrides, "optimizer.batch=6", out="a")
    with pytest.raises(SpecError, match=said):
        read_front(workplace / "a", "a")
