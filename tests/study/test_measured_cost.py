"""Networks that are measured: on this machine, and on a device behind a command that may hang or lie."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coevo.cost import timing
from coevo.cost.measured import MeasuredCost, MeasuredSettings
from coevo.cost.timing import RAPL, export_onnx
from coevo.design import Cost
from coevo.errors import RunError, SpecError
from coevo.experiment import load_experiment
from coevo.networks import build_family, load_space
from coevo.networks.single import layer_module, layer_source
from coevo.protocols import Task
from coevo.study import load_results
from coevo.workload import Layer, Source, Workload

EXPERIMENT = """
schema: 1
name: measured
network: {space: digits_mbconv}
accelerators: [device]
deployment: {channels: 1, resolution: 8, classes: 10}
objectives: [latency, parameters]
cost: {name: measured, command: "COMMAND"}
optimizer: {name: random, batch: 3}
budget: {designs: 6}
"""

DEVICE = """
import json, os, sys, time
size = os.path.getsize(sys.argv[1])
with open(sys.argv[2], "a") as journal:
    print(size, file=journal)
asked = len(open(sys.argv[2]).read().split())
print(json.dumps({"latency_ms": size / 1000 + asked / 1e6, "energy_mj": 2.0}))  # never the same twice
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """An experiment whose device takes longer for larger files; ``journal`` lists what it was asked."""
    (tmp_path / "device.py").write_text(DEVICE)
    command = f"{sys.executable} -I -S {tmp_path / 'device.py'} {{model}} {tmp_path / 'journal'}"
    (tmp_path / "measured.yaml").write_text(EXPERIMENT.replace("COMMAND", command))
    return tmp_path / "measured.yaml"


def network(width: int = 8) -> Workload:
    """A convolution that can be run."""
    layer = Layer("conv", "conv", m=width, c=1, p=8, q=8, r=3, s=3)
    return Workload("conv", (layer,), layer_source(layer))


def figures(command: str, **settings: object) -> Cost:
    model = MeasuredCost(MeasuredSettings(command=command, **settings))
    (cost,) = model.evaluate([(network(), machine())])
    return cost


def machine():
    from coevo.accelerator import load_template

    return load_template("device").build()


def says(text: str) -> str:
    return f"{sys.executable} -c \"print('{text}')\" {{model}}"


def test_a_device_is_asked_once_per_network_even_if_the_run_is_stopped_and_reported_later(experiment, tmp_path):
    def run(out: str, stop: int | None = None):
        with load_experiment(experiment).study(tmp_path / out) as study:
            for progress in study.iterate():
                if progress.evaluations == stop:
                    break
            return study.front().rows()

    run("run", stop=2)
    with (tmp_path / "run" / "costs.jsonl").open("a") as torn:
        torn.write('{"key": "torn')
    front = run("run")
    asked = (tmp_path / "journal").read_text().split()
    assert len(asked) == 6
    assert run("run") == front
    assert load_results(tmp_path / "run").front.rows() == front
    assert len((tmp_path / "journal").read_text().split()) == 6
    known = [json.loads(line)["value"] for line in (tmp_path / "run" / "costs.jsonl").read_text().splitlines()]
    assert sum(isinstance(value, dict) for value in known) == 6


def test_looking_into_a_run_folder_runs_no_command_that_stands_in_it(experiment, tmp_path):
    with load_experiment(experiment).study(tmp_path / "run") as study:
        study.run()
    (tmp_path / "run" / "costs.jsonl").unlink()
    (tmp_path / "journal").unlink()
    with pytest.raises(RunError, match="the run folder lacks a measurement, and none is made by looking into it"):
        load_results(tmp_path / "run")
    assert not (tmp_path / "journal").exists()


def test_a_run_under_way_is_reported_before_its_front_is_measured(experiment, tmp_path):
    override = "cost={name: predictor, of: {name: measured, repeats: 1, warm_up: 0}, samples: 20}"
    with load_experiment(experiment, [override]).study(tmp_path / "run") as study:
        study.step()
        before = load_results(tmp_path / "run").front.rows()
        study.run()
    after = load_results(tmp_path / "run").front.rows()
    assert before
    assert not [name for row in before for name in row if name.startswith("true_")]
    assert all(row["true_latency_ms"] > 0 for row in after)


def test_what_a_device_says_is_the_latency_whatever_the_clock():
    cost = figures(says('{\\"latency_ms\\": 2.5, \\"energy_mj\\": 3}'), energy=True)
    assert cost.latency_cycles / (machine().clock_mhz * 1e3) == pytest.approx(2.5)
    assert cost.energy_pj == pytest.approx(3e9)
    assert math.isnan(figures(says('{\\"latency_ms\\": 2.5}')).energy_pj)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{\\"latency_ms\\": -1}', "the device said latency_ms -1; it must be a positive number"),
        ('{\\"latency_ms\\": NaN}', "the device said latency_ms nan; it must be a positive number"),
        ('{\\"latency_ms\\": true}', "the device said latency_ms True; it must be a positive number"),
        ('{\\"latency_ms\\": \\"fast\\"}', "the device said latency_ms 'fast'; it must be a positive number"),
        ("{}", "the device said latency_ms None; it must be a positive number"),
        ("[1]", 'the device must answer {"latency_ms": ...}, said [1]'),
        ("about 3 ms", "the device did not answer in JSON: 'about 3 ms'"),
    ],
)
def test_a_device_that_lies_is_a_recorded_failure(answer, reason):
    cost = figures(says(answer))
    assert (cost.violation, cost.reason) == (1.0, reason)


def test_a_device_that_must_say_an_energy_and_does_not_is_a_recorded_failure():
    assert figures(says('{\\"latency_ms\\": 1}'), energy=True).reason.startswith("the device said energy_mj None")


def test_a_device_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    child = tmp_path / "child"
    code = f"import subprocess; subprocess.run(['sh', '-c', 'echo $$ > {child}; exec sleep 60'])"
    began = time.monotonic()
    cost = figures(f'{sys.executable} -c "{code}" {{model}}', time_limit_s=1.0)
    assert cost.reason == "the device did not answer within 1 s (time_limit_s)"
    assert time.monotonic() - began < 20
    time.sleep(0.2)
    status = Path(f"/proc/{child.read_text().strip()}/stat")  # a zombie is dead, if nobody has asked after it yet
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_a_command_that_fails_or_is_not_there_is_a_recorded_failure():
    assert figures("no-such-program {model}").reason.startswith("the device's command cannot be run: no-such-program")
    code = f"{sys.executable} -c \"import sys; sys.exit('board is off')\" {{model}}"
    assert figures(code).reason == "the device's command ended with 1: board is off"


def test_a_command_without_a_place_for_the_network_is_refused(experiment):
    with pytest.raises(SpecError, match=r"cost: the command must have \{model\} in it"):
        load_experiment(experiment, ["cost={name: measured, command: bench}"])


def test_an_objective_that_is_not_measured_is_refused(experiment):
    with pytest.raises(SpecError, match=r"objectives\.1: the cost model measured does not tell energy_mj"):
        load_experiment(experiment, ["objectives=[latency, energy]"])


def test_energy_is_what_the_processors_counter_adds_per_run_also_where_it_begins_anew(tmp_path, monkeypatch):
    (tmp_path / "energy_uj").write_text("0")
    (tmp_path / "max_energy_range_uj").write_text("1000000")
    monkeypatch.setattr(timing, "RAPL", tmp_path)
    readings = iter([999_000.0, 5_000.0])
    monkeypatch.setattr(timing, "_energy_uj", lambda: next(readings))
    _, energy_mj = timing.measure(network().source, MeasuredSettings(energy=True, repeats=3).timing)
    assert energy_mj == pytest.approx(6_000 / 3 / 1e3)


@pytest.mark.skipif((RAPL / "energy_uj").exists(), reason="this machine's energy counter is there")
def test_energy_without_a_counter_is_refused_with_the_way_out(experiment):
    with pytest.raises(SpecError, match=r"energy counter .* is not there or may not be read; leave energy out"):
        load_experiment(experiment, ["cost={name: measured, energy: true}"])


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_ten_times_the_work_takes_longer(engine):
    pytest.importorskip(engine)
    model = MeasuredCost(MeasuredSettings(engine=engine, repeats=15, warm_up=2))
    few, many = model.evaluate([(deep(1), machine()), (deep(10), machine())])
    assert 0 < few.latency_cycles < many.latency_cycles


def deep(count: int) -> Workload:
    """A chain of equal convolutions."""

    def module():
        from torch import nn

        return nn.Sequential(*(nn.Conv2d(16, 16, 3, padding=1) for _ in range(count)))

    return Workload(f"{count} convolutions", (), Source(f"chain {count}", {}, (16, 32, 32), module))


def test_each_target_may_be_a_device_of_its_own_behind_one_command(experiment, tmp_path):
    (tmp_path / "device.py").write_text(
        "import sys; print('{\"latency_ms\": %s}' % {'slow': 9, 'fast': 1}[sys.argv[1]])"
    )
    command = f"command: '{sys.executable} -I -S {tmp_path / 'device.py'} {{device}} {{model}}'"
    targets = "targets={a: {template: device, set: {device: slow}}, b: {template: device, set: {device: fast}}}"
    overrides = [f"cost={{name: measured, {command}}}", targets, "accelerators=null", "budget.designs=2"]
    with load_experiment(experiment, overrides).study(tmp_path / "run") as study:
        study.run()
        evaluations = study.evaluations
    for evaluation in evaluations:
        assert evaluation.metrics["latency_ms@a"] == pytest.approx(9)
        assert evaluation.metrics["latency_ms@b"] == pytest.approx(1)
    with pytest.raises(
        SpecError, match=r"cost.command: \{device\} stands here, and the accelerator device names no device"
    ):
        load_experiment(experiment, [*overrides, "targets.b.set={}"])


def test_a_network_that_cannot_be_run_is_a_recorded_failure():
    def broken():
        raise ValueError("no such block")

    workload = Workload("broken", (), Source("broken", {}, (1, 8, 8), broken))
    (cost,) = MeasuredCost(MeasuredSettings()).evaluate([(workload, machine())])
    assert cost.reason == "cannot be measured: ValueError: no such block"
    (cost,) = MeasuredCost(MeasuredSettings()).evaluate([(Workload("file", ()), machine())])
    assert cost.reason == "file is no network that can be run"


def misbehaving(act: Callable[[], object]) -> Workload:
    """A network that does something when it is run."""

    def module():
        from torch import nn

        class Misbehaving(nn.Module):
            def forward(self, images):
                act()
                return images

        return Misbehaving()

    return Workload("misbehaving", (), Source(repr(act), {}, (1, 8, 8), module))


def test_a_network_that_hangs_or_crashes_is_a_recorded_failure_and_the_next_is_measured():
    model = MeasuredCost(MeasuredSettings(repeats=2, warm_up=1, time_limit_s=3.0))
    began = time.monotonic()
    workloads = [misbehaving(lambda: time.sleep(60)), misbehaving(os.abort), network()]
    hung, crashed, good = model.evaluate([(workload, machine()) for workload in workloads])
    assert (hung.violation, hung.reason) == (
        1.0,
        "3 runs did not end within 3 s (time_limit_s)",
    )
    assert (crashed.violation, crashed.reason) == (1.0, "cannot be measured: crashed twice: killed by SIGABRT")
    assert good.violation == 0
    assert good.latency_cycles > 0
    assert time.monotonic() - began < 55


def test_a_network_that_is_slow_once_is_measured_no_shorter():
    (cost,) = MeasuredCost(MeasuredSettings(repeats=3, warm_up=0)).evaluate(
        [(misbehaving(lambda: time.sleep(0.05)), machine())]
    )
    assert cost.latency_cycles / (machine().clock_mhz * 1e3) >= 50


def test_a_run_goes_on_past_a_network_that_takes_too_long(experiment, tmp_path):
    override = "cost={name: measured, repeats: 1, warm_up: 0, time_limit_s: 0.001}"
    with load_experiment(experiment, [override]).study(tmp_path / "run") as study:
        study.run()
        evaluations = study.evaluations
    assert len(evaluations) == 6
    assert {evaluation.reason for evaluation in evaluations} == {"1 runs did not end within 0.001 s (time_limit_s)"}
    assert load_results(tmp_path / "run").evaluations == evaluations


def test_measuring_leaves_threads_cores_and_random_numbers_as_they_were():
    import torch

    torch.manual_seed(5)
    before = torch.get_num_threads(), os.sched_getaffinity(0), torch.random.get_rng_state()
    timing.measure(network().source, MeasuredSettings(repeats=1).timing)
    after = torch.get_num_threads(), os.sched_getaffinity(0), torch.random.get_rng_state()
    assert before[:2] == after[:2]
    assert bool((before[2] == after[2]).all())


def test_the_file_that_a_device_gets_computes_what_the_network_computes(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    import torch

    family = build_family(load_space("digits_mbconv"), Task(1, 8, 10))
    rng = np.random.default_rng(0)
    from coevo.space import Space

    space = Space(tuple(family.genes))
    choices = space.decode(space.sample(rng, 1)[0])
    torch.manual_seed(0)
    module = family.module(choices).eval()
    source = Source("x", choices, (1, 8, 8), lambda: module)
    export_onnx(source, 1, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    images = rng.random((1, 1, 8, 8), dtype=np.float32)
    with torch.inference_mode():
        wanted = module(torch.from_numpy(images)).numpy()
    (found,) = session.run(None, {"images": images})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        Layer("conv", "conv", m=8, c=3, p=5, q=7, r=3, s=3, stride=(2, 2)),
        Layer("depthwise", "conv", g=6, p=5, q=5, r=3, s=3, dilation=(2, 2)),
        Layer("linear", "linear", m=10, c=20),
        Layer("pool", "pool", g=4, p=3, q=3, r=2, s=2, stride=(2, 2)),
        Layer("add", "add", g=4, c=2, p=3, q=3),
    ],
    ids=lambda layer: layer.name,
)
def test_a_single_layer_computes_maps_of_its_own_size(layer):
    import torch

    source = layer_source(layer)
    outputs = source.module()(torch.zeros(1, *source.input_shape))
    assert tuple(outputs.shape) == (1, layer.g * layer.m, layer.p, layer.q)
    with pytest.raises(SpecError, match="no module is made of a layer of kind softmax"):
        layer_module(Layer("softmax", "softmax", g=4))
