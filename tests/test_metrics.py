from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from coevo.design import Accuracy, Cost
from coevo.errors import SpecError
from coevo.metrics import METRICS, find_metric, inputs_of, metric
from coevo.workload import Layer, Workload

GIVEN = {
    "cost": Cost(("dram",), latency_cycles=4e5, energy_pj=3e9, area_mm2=5.0, peak_memory_bytes=2048.0),
    "accelerator": SimpleNamespace(clock_mhz=200.0, area_mm2=5.0),
    "accuracy": Accuracy(error=0.125),
    "workload": Workload("one", (Layer("conv", "conv", m=4, c=3, p=10, q=10, r=3, s=3, affine=8),)),
}

EXPECTED = {
    "error_pct": 12.5,
    "latency_ms": 2.0,  # 4e5 cycles at 200 MHz
    "interval_ms": 2.0,  # one inference after the other
    "energy_mj": 3.0,
    "area_mm2": 5.0,
    "edp_mj_ms": 6.0,
    "edap_mj_ms_mm2": 30.0,
    "throughput_per_s": 500.0,
    "peak_memory_kib": 2.0,
    "macs": 4 * 3 * 100 * 9,
    "parameters": 4 * 3 * 9 + 8,
}


def test_each_metric_converts_its_units_once():
    figures = {
        found.quantity.column: found.compute(**{name: GIVEN[name] for name in inputs_of(found)})
        for found in METRICS.values()
    }
    assert figures == pytest.approx(EXPECTED)


def test_only_throughput_is_maximised():
    assert [name for name, found in METRICS.items() if found.quantity.maximise] == ["throughput"]


def test_a_metric_of_the_users_own_is_found_by_file(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "from coevo.metrics import metric\n@metric('W')\ndef power(cost, accelerator):\n    return 1.0\n"
    )
    found = find_metric("mine.py:power", str(tmp_path / "experiment.yaml"))
    assert found.quantity.column == "power_w"
    assert inputs_of(found) == {"cost", "accelerator"}


def test_an_unknown_metric_is_refused_with_the_near_name():
    with pytest.raises(SpecError, match="did you mean 'latency'"):
        find_metric("latencey")


def test_a_plain_function_is_no_metric(tmp_path: Path):
    (tmp_path / "mine.py").write_text("def power(cost):\n    return 1.0\n")
    with pytest.raises(SpecError, match="decorate"):
        find_metric("mine.py:power", str(tmp_path / "experiment.yaml"))


def test_a_metric_of_something_unknown_is_refused():
    with pytest.raises(ValueError, match="parameters must be out of cost, accuracy"):
        metric("W")(lambda price: 1.0)
