from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from coevo.design import Evaluation, Results
from coevo.errors import SpecError
from coevo.library import parse_yaml
from coevo.mapping import Mapping
from coevo.report import read_design
from coevo.report.export import design_yaml


def test_a_design_file_is_complete(results: Results) -> None:
    design = results.front.designs[0]
    data = yaml.safe_load(design_yaml(design, results.name))
    assert list(data) == [
        "schema",
        "kind",
        "id",
        "experiment",
        "network",
        "accelerator",
        "metrics",
        "layers",
        "mappings",
    ]
    assert (data["schema"], data["kind"], data["id"]) == (1, "design", design.evaluation.id)
    assert data["network"] == {"family": "mbconv", "choices": dict(design.design.network.choices)}
    assert data["accelerator"]["template"] == design.design.accelerator.name
    assert data["accelerator"]["choices"] == dict(design.design.accelerator.choices)
    assert design.accuracy is not None
    assert data["metrics"] == design.evaluation.metrics | {"test_error_pct": 100 * (design.accuracy.test_error or 0)}


def test_the_machine_reads_back_whole(results: Results) -> None:
    machine = results.front.designs[0].design.accelerator
    read = yaml.safe_load(design_yaml(results.front.designs[0], results.name))["accelerator"]["machine"]
    written = asdict(machine)
    del written["choices"]
    assert written.pop("device") == "", "it stands for none, and none is written"
    assert read == json.loads(json.dumps(written))
    assert read["memories"][0]["size_bits"] == float("inf")


def test_what_is_written_reads_back_as_the_same_machine_workload_and_mappings(results: Results, tmp_path: Path) -> None:
    for design in results.front.designs[:5]:
        file = tmp_path / f"{design.evaluation.id}.yaml"
        file.write_text(design_yaml(design, results.name), encoding="utf-8")
        read = read_design(file)
        assert read.accelerator == design.design.accelerator
        assert read.accelerator.choices == design.design.accelerator.choices
        assert read.workload.layers == design.workload.layers
        assert read.mappings == {cost.layer.name: cost.mapping for cost in design.cost.layers}


def test_a_design_file_keeps_the_bits_of_its_layers(results: Results, tmp_path: Path) -> None:
    design = results.front.designs[0]
    narrow = (replace(design.cost.layers[0], layer=replace(design.cost.layers[0].layer, bits=(4, 8, None))),)
    layers = (*narrow, *design.cost.layers[1:])
    file = tmp_path / "narrow.yaml"
    cost = replace(design.cost, detail=lambda: layers)
    file.write_text(design_yaml(replace(design, costs=(cost,)), results.name))
    assert [layer.bits for layer in read_design(file).workload.layers] == [(4, 8, None), *[None] * (len(layers) - 1)]
    file.write_text(file.read_text().replace("bits: [4, 8, null]", "bits: [4, 0, null]"))
    with pytest.raises(SpecError, match="at least 1 bit"):
        read_design(file)


def test_mappings_read_back_exactly(results: Results) -> None:
    design = results.front.designs[0]
    mappings = yaml.safe_load(design_yaml(design, results.name))["mappings"]
    assert {name: Mapping.from_data(data) for name, data in mappings.items()} == {
        cost.layer.name: cost.mapping for cost in design.cost.layers
    }


def test_the_strict_reader_takes_it_and_finds_text_where_text_was(results: Results) -> None:
    design = results.front.designs[0]
    odd: Evaluation = replace(design.evaluation, id="12e4567890", metrics={"macs": np.float64(1e7)})
    text = design_yaml(replace(design, evaluation=odd), "0123")
    document = parse_yaml(text, "design.yaml")
    assert document.data["id"] == "12e4567890"
    assert document.data["experiment"] == "0123"
    assert document.data["metrics"]["macs"] == 1e7


def test_a_design_file_that_says_how_its_accuracy_was_measured_is_read(results: Results, tmp_path: Path) -> None:
    design = results.front.designs[0]
    file = tmp_path / "measured.yaml"
    measured = replace(design, evaluation=replace(design.evaluation, fidelity="5 epochs"))
    file.write_text(design_yaml(measured, results.name))
    assert read_design(file).id == design.evaluation.id
