"""The commands as users call them: what they print, and what they leave behind."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import pytest

from coevo.cli import main
from coevo.cli.run import _line
from coevo.design import Results
from coevo.library import list_data
from coevo.study import Progress


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def coevo(capsys):
    """Calls the program; returns exit code, standard output and standard error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.raises(SystemExit) as stop:
        main(["run", "hardware_only", "--set", "budget={designs: 40}", "--out", str(folder), "--quiet"])
    assert stop.value.code == 0
    return folder


@pytest.fixture
def run_folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def test_run_ends_with_where_the_report_lies(coevo, tmp_path):
    code, out, err = coevo("run", "hardware_only", "--set", "budget={designs: 20}", "--out", str(tmp_path / "r"))
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"report: {tmp_path / 'r' / 'report.html'}"
    assert "1 networks x 104,088 accelerators" in out
    assert "20 designs" in out and "hypervolume" in out and "best latency_ms" in out


def test_progress_says_the_most_important_first():
    progress = Progress(
        step=3, evaluations=812, infeasible=17, trainings=60, trainings_saved=4, hypervolume=1.02, fraction=0.5,
        best={"error_pct": 2.5, "latency_ms": 0.1, "energy_mj": 0.01}, seconds_left=61.0,
    )  # fmt: skip
    assert _line(progress).startswith(" 50% 1:01 left | generation 3 | 812 designs")


def test_on_a_terminal_progress_never_wraps(coevo, run_folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out, _ = coevo("run", "hardware_only", "--set", "budget={designs: 42}", "--out", str(run_folder))
    lines = [part.split("\n")[0] for part in out.split("\r\033[K")[1:]]
    assert code == 0 and len(lines) > 1
    assert {len(line) for line in lines} == {59}


def test_an_empty_out_is_none(coevo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = coevo("run", "hardware_only", "--set", "budget={designs: 1}", "--out", "", "--quiet", "--jobs", "1")
    assert (code, out) == (0, "report: runs/hardware_only/report.html\n")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_run_leaves_tables_figures_designs_and_report(run_folder):
    rows = table(run_folder / "front.csv")
    assert {f"{row['id']}.yaml" for row in rows} == {path.name for path in (run_folder / "front").iterdir()}
    assert {"latency_ms", "energy_mj", "area_mm2", "template"} <= set(rows[0])
    assert all(float(row["area_mm2"]) <= 16 for row in rows)
    for name in ("designs.csv", "report.html", "pareto_energy_latency.png", "pareto_energy_latency.svg"):
        assert (run_folder / name).stat().st_size > 500


def test_a_front_design_scores_the_same_when_it_is_fed_back(coevo, run_folder):
    for row in table(run_folder / "front.csv")[:6]:
        code, out, err = coevo("evaluate", str(run_folder / "front" / f"{row['id']}.yaml"), "--json")
        assert (code, err) == (0, "")
        again = json.loads(out)
        for column in ("latency_ms", "energy_mj", "area_mm2", "edp_mj_ms", "peak_memory_kib"):
            assert again[column] == pytest.approx(float(row[column]), rel=1e-12)


def test_a_front_design_can_be_put_on_another_machine(coevo, run_folder):
    design = str(next((run_folder / "front").iterdir()))
    code, out, _ = coevo("evaluate", design, "--accelerator", "shidiannao")
    assert code == 0 and out.startswith("shidiannao: 64 multipliers")


def test_report_is_written_again_from_the_run_folder_alone(coevo, run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = (run_folder / "front.csv").read_bytes()
    (run_folder / "front.csv").unlink()
    code, out, err = coevo("report", str(run_folder))
    assert (code, err) == (0, "") and "report.html" in out
    assert (run_folder / "front.csv").read_bytes() == before


def test_a_finished_run_is_not_run_again(coevo, run_folder):
    before = (run_folder / "front.csv").read_bytes()
    code, out, _ = coevo("run", "hardware_only", "--set", "budget={designs: 40}", "--out", str(run_folder))
    assert code == 0 and "goes on from 40 designs" in out
    assert (run_folder / "front.csv").read_bytes() == before


def test_list_names_everything_with_the_sizes_of_the_spaces(coevo):
    code, out, err = coevo("list")
    assert (code, err) == (0, "")
    for text in (
        "eyeriss",
        "36,288 machines",
        "digits_mbconv",
        "186,624 networks",
        "row_stationary",
        "nsga2",
        "latency",
    ):
        assert text in out
    assert coevo("list", "accelerators")[1].count("\n") == len(list_data("accelerators"))


@pytest.mark.parametrize(("name", "text"), [("eyeriss", "168 multipliers"), ("digits_mbconv", "networks  186,624"),
                                            ("hardware_only", "hardware space: 104,088")])  # fmt: skip
def test_check_says_what_a_file_holds(coevo, name, text):
    code, out, err = coevo("check", name)
    assert (code, err) == (0, "") and text in out


def test_evaluate_scores_a_named_network_on_a_named_accelerator(coevo):
    code, out, _ = coevo("evaluate", "--network", "digits_mbconv", "--input", "1x8x8", "--gene", "stem.width=12",
                         "--accelerator", "eyeriss", "--set", "pe_array.rows=8", "--json")  # fmt: skip
    data = json.loads(out)
    assert code == 0 and data["choices"]["pe_array.rows"] == 8
    assert data["latency_ms"] > 0 and data["layers"][0]["name"] == "stem"
    assert data["energy_mj"] == pytest.approx(sum(data["energy_by_part_mj"].values()))


def test_help_needs_neither_torch_nor_the_plotting_libraries():
    slow = {"torch", "matplotlib", "plotly", "pydantic", "sklearn"}
    code = f"import sys, coevo.cli; print(sorted({slow!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_cost_only_run_never_imports_torch(tmp_path):
    code = (
        "import sys, coevo\n"
        "experiment = coevo.load_experiment('hardware_only', ['budget={designs: 8}'])\n"
        f"with experiment.study({str(tmp_path / 'r')!r}) as study: study.run()\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_python_interface_gives_what_its_docstring_shows(tmp_path):
    import numpy as np

    import coevo

    experiment = coevo.load_experiment("hardware_only", ["budget={designs: 16}"])
    with experiment.study(tmp_path / "run", jobs=1) as study:
        front = study.run()
    rows = front.rows()
    assert rows and {"id", "template", "latency_ms", "area_mm2"} <= set(rows[0])
    results = coevo.load_results(tmp_path / "run")
    assert isinstance(results, Results) and len(results.evaluations) == 16
    evaluator = experiment.evaluator
    genomes = evaluator.space.sample(np.random.default_rng(0), 10)
    values, violation = evaluator.hardware(genomes)
    assert values.shape == (10, 3) and violation.shape == (10,)
    inspected = evaluator.inspect(genomes[0], train=False)
    assert inspected.cost.layers and inspected.accuracy is None
    assert set(coevo.__all__) <= set(coevo._HOMES)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["run", "quickstart"], "nothing evaluated is lost, the same command goes on"),
        (["lut", "build", "quickstart"], "nothing evaluated is lost, the same command goes on"),
        (["costs", "quickstart", "--reference", "analytical"], "the same command begins anew"),
    ],
)
def test_after_ctrl_c_it_says_whether_the_same_command_goes_on(capsys, monkeypatch, command, said):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("coevo.experiment.load_experiment", interrupt)
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 130
    assert capsys.readouterr().err.strip() == f"interrupted; {said}"


def test_nothing_is_looked_through_for_garbage_as_the_program_exits(tmp_path):
    code = (
        "import atexit, gc, sys; from coevo.cli import main\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000))\n"  # called last
        "main(['list', 'dataflows'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True"
