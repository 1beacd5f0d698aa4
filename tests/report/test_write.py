from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coevo.design import Front, Results
from coevo.errors import RunError
from coevo.report import files, write_report
from coevo.report import page as page_room
from coevo.report import points as points_room
from coevo.report.history import history
from coevo.report.page import page
from coevo.report.points import Points


def html_of(results: Results) -> str:
    points = Points.of(results)
    return page(results, points, history(points))


def data_of(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def outside_plotly(html: str) -> str:
    from plotly.offline import get_plotlyjs

    assert get_plotlyjs() in html
    return html.replace(get_plotlyjs(), "")


@pytest.fixture(scope="module")
def html(results: Results) -> str:
    return html_of(results)


def test_a_report_has_all_its_files(results: Results, tmp_path: Path) -> None:
    assert write_report(results, tmp_path / "run") == tmp_path / "run" / "report.html"
    figures = ["hypervolume", "pareto_energy_error", "pareto_energy_latency", "pareto_latency_error"]
    drawn = [f"{name}.{kind}" for name in figures for kind in ("png", "svg")]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(
        ["designs.csv", "front", "front.csv", "report.html", *drawn]
    )
    assert sorted(path.stem for path in (tmp_path / "run" / "front").iterdir()) == sorted(
        d.evaluation.id for d in results.front.designs
    )


def test_equal_runs_give_equal_files_and_designs_of_an_older_front_go(
    make_results: Callable[..., Results], tmp_path: Path
) -> None:
    results = make_results(("error", "latency"), designs=40)
    older = replace(results, front=Front(results.objectives, results.front.designs[:1]))
    stale = tmp_path / "again" / "front" / "0123456789.yaml"
    stale.parent.mkdir(parents=True)
    stale.write_text("kind: design\n")
    write_report(older, tmp_path / "again")
    assert [path.stem for path in stale.parent.iterdir()] == [older.front.designs[0].evaluation.id]
    write_report(results, tmp_path / "again")
    write_report(results, tmp_path / "once")
    contents = [
        {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (tmp_path / "again", tmp_path / "once")
    ]
    assert contents[0] == contents[1]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_atomically(tmp_path / "report.html", "old")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(tmp_path / "report.html", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"report.html": "old"}


def test_a_file_that_cannot_be_written_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(RunError, match=r"/report\.html: cannot be written: Is a directory; .*--out"):
        files.write_atomically(tmp_path / "report.html", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_an_id_that_leads_out_of_the_folder_is_refused(results: Results, tmp_path: Path) -> None:
    evil = replace(results, evaluations=(replace(results.evaluations[0], id="../../evil"), *results.evaluations[1:]))
    with pytest.raises(RunError, match="no design id"):
        write_report(evil, tmp_path / "run")
    assert not list(tmp_path.rglob("*"))


def test_the_page_loads_nothing_from_the_network(html: str) -> None:
    text = outside_plotly(html)
    assert not re.findall(r"https?://|//cdn", text)
    references = re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'\s>]+)", text)
    assert all(not re.match(r"[a-z]+:|//", reference) for reference in references)
    assert "default-src 'none'" in text


def test_text_of_the_run_stays_text(make_results: Callable[..., Results]) -> None:
    evil = "</script><script>alert(1)</script><!--"
    results = replace(make_results(designs=60, template=evil), name=evil, facts={evil: evil}, settings=evil)
    html = html_of(results)
    text = outside_plotly(html)
    assert evil not in text
    assert text.count("<script") == text.count("</script>") == 3
    assert "<!--" not in text
    details = data_of(html)["details"]
    assert evil in {detail["machine"]["template"] for detail in details.values()}


def test_a_placeholder_in_the_data_is_not_filled_in(results: Results) -> None:
    assert "<pre>{{facts}}</pre>" in html_of(replace(results, settings="{{facts}}"))


def test_every_pair_of_objectives_is_drawn_with_the_dominated_behind(html: str, results: Results) -> None:
    traces = data_of(html)["figures"]["pareto"]["data"]
    pairs = {(t["meta"]["x"], t["meta"]["y"]) for t in traces}
    assert pairs == {(1, 0), (2, 0), (2, 1)}
    for pair in pairs:
        roles = [t["meta"]["role"] for t in traces if (t["meta"]["x"], t["meta"]["y"]) == pair]
        assert roles == ["infeasible", "dominated", "stairs", "front", "knee", "chosen"]
    front = next(t for t in traces if t["meta"]["role"] == "front")
    assert [point[0] for point in front["customdata"]] == [d.evaluation.id for d in results.front.designs]


def test_the_page_says_what_the_run_was(html: str, results: Results) -> None:
    for text in (*results.facts, *results.facts.values(), "area &lt;= 5 mm2", "5.9 × 10<sup>6</sup>", ">212<", ">87<"):
        assert text in html
    assert "is over # mm2" in html
    knee = Points.of(results).knee
    assert knee is not None
    assert f'<tr data-id="{results.evaluations[knee].id}"><th>★ knee</th>' in html


def test_details_sum_to_the_design_s_own_cost(html: str, results: Results) -> None:
    details = data_of(html)["details"]
    assert list(details) == [d.evaluation.id for d in results.front.designs]
    for design in results.front.designs:
        layers = details[design.evaluation.id]["layers"]
        energy = sum(sum(map(sum, x["energy_pj"])) + x["mac_pj"] + x["leakage_pj"] for x in layers)
        assert energy == pytest.approx(design.cost.energy_pj, rel=1e-4)
        assert sum(x["cycles"] for x in layers) == pytest.approx(design.cost.latency_cycles, rel=1e-4)
        machine = details[design.evaluation.id]["machine"]
        assert sum(mm2 for _, mm2 in machine["area"]) == pytest.approx(design.cost.area_mm2, rel=1e-4)


def test_a_sample_of_the_dominated_is_announced(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_room, "MAX_DOMINATED", 100)
    monkeypatch.setattr(page_room, "MAX_DOMINATED", 100)
    html = html_of(results)
    assert f"100 of the {len(Points.of(results).dominated)} dominated designs are drawn" in html
    cloud = next(t for t in data_of(html)["figures"]["pareto"]["data"] if t["meta"]["role"] == "dominated")
    assert len(cloud["x"]) == 100
    assert f"({len(Points.of(results).dominated)})" in cloud["name"]


def test_of_a_large_front_a_part_carries_details_with_knee_and_ends(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_room, "MAX_DETAILED", 10)
    points = Points.of(results)
    details = data_of(html_of(results))["details"]
    assert len(details) <= 10
    assert points.knee is not None
    assert {points.ids[row] for row in (points.knee, *points.ends)} <= set(details)


@pytest.mark.parametrize(
    ("objectives", "designs", "feasible", "figures"),
    [
        (("error", "latency"), 40, False, set()),
        (("error", "latency"), 1, True, {"pareto", "history"}),
        (("throughput",), 80, True, {"history", "drivers"}),
        (("latency", "energy"), 80, True, {"pareto", "history", "drivers"}),
        (("error", "latency", "energy", "area"), 80, True, {"pareto", "history", "drivers", "parallel"}),
    ],
    ids=["nothing feasible", "one design", "one objective", "no accuracy", "four objectives"],
)
def test_unusual_runs_have_a_page_too(
    make_results: Callable[..., Results], objectives: tuple[str, ...], designs: int, feasible: bool, figures: set[str]
) -> None:
    html = html_of(make_results(objectives, designs=designs, feasible=feasible))
    assert figures <= set(data_of(html)["figures"])
    assert ("there is no front" in html) == (not feasible)


def test_few_designs_are_not_said_to_show_what_drives_what(make_results: Callable[..., Results]) -> None:
    assert "drivers" not in data_of(html_of(make_results(designs=20)))["figures"]


def test_a_run_that_was_killed_before_its_first_design_has_a_report(
    make_results: Callable[..., Results], tmp_path: Path
) -> None:
    results = make_results(("error", "latency"), designs=1)
    empty = replace(results, evaluations=(), front=Front(results.objectives, ()))
    write_report(empty, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["designs.csv", "front", "front.csv", "report.html"]
    assert len((tmp_path / "front.csv").read_text().splitlines()) == 1


def test_an_objective_that_never_differs_is_drawn_all_the_same(
    make_results: Callable[..., Results], tmp_path: Path
) -> None:
    results = make_results(("error", "latency", "energy"), designs=30)
    flat = tuple(replace(e, values=(*e.values[:2], 3.0)) for e in results.evaluations)
    by_id = {e.id: e for e in flat}
    front = tuple(replace(d, evaluation=by_id[d.evaluation.id]) for d in results.front.designs)
    write_report(replace(results, evaluations=flat, front=Front(results.objectives, front)), tmp_path)
    assert (tmp_path / "pareto_energy_error.png").stat().st_size > 5_000


def test_importing_the_report_draws_in_neither_plotly_nor_matplotlib() -> None:
    import subprocess
    import sys

    slow = ("plotly", "matplotlib", "torch")
    code = f"import sys, coevo.report; sys.exit(any(m in sys.modules for m in {slow}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
