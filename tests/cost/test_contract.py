"""What every cost model promises; found by itself, whichever there are."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from coevo.cost.figures import ATTRIBUTES, Figures
from coevo.cost.layer_table import write_table
from coevo.errors import DataError, SpecError
from coevo.experiment import load_experiment
from coevo.library import find_plugin, list_plugins

ALL = list_plugins("cost")
ANALYTICAL = "{name: analytical}"

SETTINGS = {
    "device_table": "device: phone, path: table.csv",
    "lut": "path: lut.csv",
    "measured": "repeats: 1, warm_up: 0",
    "mixed": f"latency: {ANALYTICAL}, energy: {ANALYTICAL}",
    "predictor": f"of: {ANALYTICAL}, samples: 20, learner: gaussian_process",
}
"""What those need to be built that do need something."""

TOOLS = ("timeloop", "zigzag")
"""They run another program, which takes its time or is not there; their own tests score by them."""

OWN = [name for name in ALL if name not in TOOLS]

EXPERIMENT = """
schema: 1
name: contract
network: {space: nasbench201}
accelerators: [{template: tiny, vary: {}}]
deployment: {channels: 3, resolution: 32, classes: 10}
objectives: [latency]
budget: {designs: 4}
cost: {name: analytical}
"""


@pytest.fixture(params=ALL)
def name(request) -> str:
    return request.param


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with an experiment, a lookup table of it and a table of a device."""
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    experiment = load_experiment(tmp_path / "e.yaml")
    designs = experiment.joint.draw(4, 3)
    workloads = [experiment.joint.workload(design.network) for design in designs]
    machine = designs[0].accelerator
    layers = {layer.shape_key: layer for workload in workloads for layer in workload.layers}
    write_table(tmp_path / "lut.csv", {}, [(machine, layer, Figures(10.0, 20.0, 30.0)) for layer in layers.values()])
    from coevo.networks.cell import to_string

    rows = [f"{to_string(workload.source.choices)},{i + 1}" for i, workload in enumerate(workloads)]
    (tmp_path / "table.csv").write_text("\n".join(["arch,phone_latency_ms", *rows]) + "\n")
    yield tmp_path


def build(place: Path, name: str):
    section = ", ".join(part for part in (f"name: {name}", SETTINGS.get(name, "")) if part)
    return load_experiment(place / "e.yaml", [f"cost={{{section}}}"])


def test_settings_are_strict_and_frozen_and_the_model_says_what_it_is(name):
    plugin = find_plugin("cost", name)
    assert inspect.getdoc(plugin).split("\n")[0].endswith("(socket `CostModel`).")
    assert issubclass(plugin.Settings, BaseModel)
    assert plugin.Settings.model_config["extra"] == "forbid"
    assert plugin.Settings.model_config["frozen"]
    with pytest.raises(ValidationError):
        plugin.Settings(nonsense=1)


@pytest.mark.parametrize("name", OWN)
def test_there_is_one_cost_per_pair_the_same_every_time_and_in_any_order(place, name):
    experiment = build(place, name)
    designs = experiment.joint.draw(4, 3)
    pairs = [(experiment.joint.workload(design.network), design.accelerator) for design in designs]
    model = experiment.plan.cost
    first = model.evaluate(pairs)
    again = model.evaluate(pairs[::-1], 2)[::-1]
    assert len(first) == len(pairs)
    unknown = set(getattr(model, "unknown", ()))
    assert unknown <= set(ATTRIBUTES)
    for (_, machine), one, other in zip(pairs, first, again, strict=True):
        assert (one.violation, one.reason) == (0.0, "")
        assert one.area_mm2 == machine.area_mm2
        for figure in ATTRIBUTES:
            value = getattr(one, figure)
            assert math.isnan(value) == (figure in unknown), figure
            assert math.isnan(value) or (math.isfinite(value) and value >= 0)
            assert value == getattr(other, figure) or figure in unknown


@pytest.mark.parametrize("name", OWN)
def test_nothing_is_no_trouble(place, name):
    assert build(place, name).plan.cost.evaluate([]) == []


def test_a_wrong_setting_is_one_line(place, name):
    section = ", ".join(part for part in (f"name: {name}", SETTINGS.get(name, ""), "nonsense: 1") if part)
    with pytest.raises((SpecError, DataError), match="unknown key") as error:
        load_experiment(place / "e.yaml", [f"cost={{{section}}}"])
    assert "\n" not in str(error.value)
