"""A lookup table whose making was stopped goes on from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from coevo.cli import main
from coevo.cost.figures import Figures
from coevo.cost.layer_table import read_table
from coevo.experiment import lut
from coevo.workload import Layer

FAKES = Path(__file__).parents[1] / "evaluate" / "codesign_fakes.py"
MEASURED = "cost={name: measured, command: 'bench {model}'}"


class Device:
    """Stands for a device behind a command: another latency each time, and Ctrl-C before some measurement."""

    def __init__(self) -> None:
        self.asked = 0
        self.stop_before: int | None = None

    def __call__(self, *_: object) -> Figures:
        if self.asked == self.stop_before:
            raise KeyboardInterrupt
        self.asked += 1
        return Figures.measured(float(self.asked))


@pytest.fixture
def device(monkeypatch) -> Device:
    fake = Device()
    monkeypatch.setattr("coevo.cost.measured.ask", fake)
    monkeypatch.setattr("coevo.cost.measured.export_onnx", lambda *_: None)
    return fake


@pytest.fixture
def build(workplace, capsys):
    """Makes the table of the fakes' layers on one machine; returns exit code and what was printed."""

    def start(cost: str = MEASURED) -> tuple[int, str]:
        one = "accelerators=[{template: machine.yaml, vary: {}}]"
        arguments = ["lut", "build", workplace / "tiny.yaml", "--set", one, "--set", cost, "--set", "constraints={}"]
        with pytest.raises(SystemExit) as end:
            main(
                [
                    str(part)
                    for part in (*arguments, "--set", "objectives=[latency]", "--jobs", 1, "-o", workplace / "t.csv")
                ]
            )
        streams = capsys.readouterr()
        return int(end.value.code or 0), streams.out + streams.err

    return start


def latencies(workplace: Path) -> list[float]:
    return sorted(row.latency_cycles / 1e6 for row in read_table(workplace / "t.csv").rows.values())


def test_after_ctrl_c_the_same_command_measures_what_is_left(build, device, workplace):
    device.stop_before = 3
    code, text = build()
    assert code == 130
    assert text.strip().splitlines()[-1] == "interrupted; nothing evaluated is lost, the same command goes on"
    assert not (workplace / "t.csv").exists()
    with (workplace / "t.csv.part").open("a") as torn:  # as a kill leaves it
        torn.write('{"key": "torn')
    device.stop_before = None
    code, text = build()
    assert code == 0
    layers = len(read_table(workplace / "t.csv").rows)
    assert device.asked == layers > 3
    assert len(set(latencies(workplace))) == layers, "what was measured first stands in the table"
    assert not (workplace / "t.csv.part").exists()
    assert "measured" in read_table(workplace / "t.csv").facts


def test_a_table_that_is_whole_is_measured_anew(build, device, workplace):
    build()
    once = device.asked
    code, text = build()
    assert (code, device.asked) == (0, 2 * once)
    assert "kept from a build" not in text


def test_another_model_takes_nothing_over(build, device, workplace, monkeypatch):
    monkeypatch.setattr("coevo.experiment.lut._AT_A_TIME", 1)
    device.stop_before = 3
    build()
    device.stop_before = None
    build("cost={name: measured, command: 'bench {model}', attempt: 1}")
    assert device.asked == 3 + len(latencies(workplace))


def test_what_a_model_computes_is_kept_too(build, workplace, monkeypatch):
    whole = f"cost={{name: '{FAKES}:CostModel'}}"
    build(whole)
    wanted = (workplace / "t.csv").read_text()
    (workplace / "t.csv").unlink()
    monkeypatch.setattr("coevo.experiment.lut._AT_A_TIME", 1)
    calls: list[Layer] = []

    def stopping(layer):
        calls.append(layer)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return alone(layer)

    alone = lut._alone
    monkeypatch.setattr(lut, "_alone", stopping)
    assert build(whole)[0] == 130
    code, text = build(whole)
    assert (code, len(calls)) == (0, 1 + len(latencies(workplace)))
    assert "; 3 figures kept from a build that was stopped" in text
    assert (workplace / "t.csv").read_text() == wanted


def test_a_damaged_file_of_a_build_before_is_one_line_with_the_cure(build, device, workplace):
    (workplace / "t.csv.part").write_text('nonsense\n{"key": "a", "value": 1}\n')
    code, text = build()
    assert (code, device.asked) == (2, 0)
    assert "t.csv.part: is damaged; delete it, and the table is made from the start" in text
