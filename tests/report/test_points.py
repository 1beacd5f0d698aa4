from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from coevo.design import Quantity, Results
from coevo.report import points as room
from coevo.report.drivers import drivers
from coevo.report.history import history
from coevo.report.points import Points, best_label, label, log_ticks
from coevo.report.reasons import count_reasons


def test_maximised_objectives_have_their_natural_sign(make_results: Callable[..., Results]) -> None:
    results = make_results(("energy", "throughput"))
    points = Points.of(results)
    row = points.front[0]
    assert points.values[row, 1] < 0 < points.natural[row, 1]
    assert points.natural[row, 1] == results.evaluations[row].metrics["throughput_per_s"]
    assert best_label(points.objectives[1]) == "highest throughput"


def test_values_of_infeasible_designs_are_not_read_but_their_known_metrics_are(results: Results) -> None:
    points = Points.of(results)
    refused = [i for i, e in enumerate(results.evaluations) if e.violation and "error_pct" not in e.metrics]
    assert refused
    assert np.isnan(points.values[refused]).all()
    assert np.isnan(points.natural[refused, 0]).all()
    assert np.isfinite(points.natural[refused, 1]).all()


def test_front_dominated_and_infeasible_share_out_all_designs(results: Results) -> None:
    points = Points.of(results)
    groups = [points.front, points.dominated, np.flatnonzero(~points.feasible)]
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(results.evaluations)))


def test_the_ends_are_the_best_of_each_objective(results: Results) -> None:
    points = Points.of(results)
    for objective, row in enumerate(points.ends):
        assert points.values[row, objective] == points.values[points.feasible, objective].min()


def test_only_wide_positive_quantities_other_than_percentages_get_log_axes(results: Results) -> None:
    points = Points.of(results)
    error = points.natural[points.feasible, 0]
    assert error.max() > 10 * error.min() > 0
    assert [points.logarithmic(j) for j in range(3)] == [False, True, True]


def test_the_staircase_of_a_pair_falls_from_its_best_x_to_its_best_y(results: Results) -> None:
    points = Points.of(results)
    stairs = points.values[points.staircase(1, 0)]
    feasible = points.values[points.feasible]
    assert (np.diff(stairs[:, 1]) > 0).all()
    assert (np.diff(stairs[:, 0]) < 0).all()
    assert stairs[0, 1] == feasible[:, 1].min()
    assert stairs[-1, 0] == feasible[:, 0].min()


def test_above_the_limit_a_fixed_sample_of_the_dominated_is_drawn(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_DOMINATED", 50)
    drawn = Points.of(results).drawn
    assert len(drawn) == len(set(drawn.tolist())) == 50
    assert set(drawn.tolist()) < set(Points.of(results).dominated.tolist())
    assert drawn.tolist() == Points.of(results).drawn.tolist()


def test_log_ticks_cover_the_values_by_1_2_5() -> None:
    assert log_ticks(np.array([0.03, 2.0])) == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]
    assert log_ticks(np.array([1e-3, 1e3])) == [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]


def test_square_millimetres_are_written_as_print_has_them() -> None:
    assert label(Quantity("area", "mm2", title="Area")) == "Area [mm²]"


def test_hypervolume_is_a_share_that_never_falls_and_ends_at_the_front_s(results: Results) -> None:
    points = Points.of(results)
    curve = history(points)
    assert curve is not None
    assert (np.diff(curve.curve) >= 0).all()
    assert 0 < curve.curve[0] < curve.curve[-1] < 1
    assert curve.evaluations[0] == 1
    assert curve.evaluations[-1] == len(results.evaluations)


def test_the_hypervolume_of_two_ends_is_known_by_hand(make_results: Callable[..., Results]) -> None:
    objectives = make_results(("error", "latency"), designs=1).objectives
    values = np.array([[0.0, 1.0], [1.0, 0.0]])
    points = Points(objectives, ("a", "b"), values, values, np.ones(2, dtype=np.bool_), np.arange(2))
    curve = history(points)
    assert curve is not None
    # Each end dominates 1.1 x 0.1 of the box of 1.1 x 1.1; both share the corner of 0.1 x 0.1.
    assert curve.curve == pytest.approx([0.11 / 1.21, 0.21 / 1.21])


def test_one_objective_shows_the_best_so_far(make_results: Callable[..., Results]) -> None:
    points = Points.of(make_results(("throughput",)))
    curve = history(points)
    assert curve is not None
    assert curve.label == "Best Throughput [1/s]"
    assert curve.curve[-1] == points.natural[points.feasible, 0].max()
    assert (np.diff(curve.curve) >= 0).all()


def test_a_gene_that_decides_an_objective_explains_it_and_one_that_does_not_does_not(results: Results) -> None:
    decided = tuple(
        replace(
            e,
            values=(float(e.genes["net.stage1.depth"]), *e.values[1:]),
            violation=0.0,
            genes=dict(e.genes) | {"coin": i % 2},
        )
        for i, e in enumerate(results.evaluations)
    )
    changed = replace(results, evaluations=decided, genes=(*results.genes, "coin"))
    found = drivers(changed, Points.of(changed))
    assert found.genes[0] == "net.stage1.depth"
    assert found.share[0, 0] == pytest.approx(1.0)
    assert found.share[found.genes.index("coin"), 0] < 0.03


def test_reasons_that_differ_in_numbers_alone_are_counted_together(results: Results) -> None:
    reasons = count_reasons(results.evaluations)
    assert [r.pattern for r in reasons] == [
        "area # mm2 is over # mm2",
        "layer stage#.block#.project: glb needs # bits of #",
    ]
    assert sum(r.count for r in reasons) == sum(e.violation > 0 for e in results.evaluations)
    assert "is over 5.0 mm2" in reasons[0].example


def test_the_2_of_a_unit_is_no_number(results: Results) -> None:
    first = replace(results.evaluations[0], violation=1.0, reason="area_mm2 is 12.5, must be <= 0.001")
    assert [r.pattern for r in count_reasons([first])] == ["area_mm2 is #, must be <= #"]
