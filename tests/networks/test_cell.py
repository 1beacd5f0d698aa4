from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from coevo.errors import SpecError
from coevo.networks.cell import OPERATIONS, Cell, CellSettings, from_digits, from_string, to_digits, to_string
from coevo.protocols import Task
from coevo.space import Space

CIFAR = Task(channels=3, resolution=32, classes=10)
BIAS = 10
"""The table's FLOPs count the classifier's 10 biases as operations; a workload counts multiply-accumulates."""


@pytest.fixture(scope="module")
def published() -> Cell:
    return Cell(CellSettings(), CIFAR)


@pytest.fixture(scope="module")
def small() -> Cell:
    return Cell(CellSettings(channels=4, cells=1), Task(channels=1, resolution=8, classes=10))


def test_parameters_and_macs_follow_the_published_affine_law(published: Cell) -> None:
    space = Space(published.genes)
    assert space.size == 15_625
    for genome in space.sample(np.random.default_rng(0), 40):
        cell = space.decode(genome)
        n1, n3 = (to_digits(cell).count(digit) for digit in "23")
        workload = published.workload(cell)
        assert workload.parameters == 73_306 + 28_000 * n1 + 243_040 * n3
        assert workload.macs + BIAS == 7_783_050 + 3_932_160 * n1 + 35_389_440 * n3


def test_parameters_and_macs_are_those_of_the_table(published: Cell) -> None:
    folder = os.environ.get("COEVO_DATA")
    table = Path(folder or "") / "nb201_acc.csv.gz"
    if not folder or not table.is_file():
        pytest.skip("COEVO_DATA names no folder with nb201_acc.csv.gz")
    with gzip.open(table, "rt") as file:
        rows = list(csv.DictReader(file))
    for i in np.random.default_rng(1).choice(len(rows), 40, replace=False):
        cell = from_digits(rows[i]["ops"])
        assert to_string(cell) == rows[i]["arch"]
        workload = published.workload(cell)
        assert workload.parameters == round(1e6 * float(rows[i]["params_M"]))
        assert workload.macs + BIAS == round(1e6 * float(rows[i]["flops_M"]))


def test_pools_and_sums_are_counted_and_skips_are_not(published: Cell) -> None:
    def kinds(digits: str) -> list[str]:
        layers = published.workload(from_digits(digits)).layers
        return [layer.kind for layer in layers if layer.name.startswith("stage1.cell1.")]

    assert kinds("111111") == ["add", "add"], "node 1 has a single addend"
    assert kinds("404004") == ["pool"] * 3, "a chain of three pools adds nothing"
    assert kinds("333333") == ["conv", "conv", "conv", "add", "conv", "conv", "conv", "add"]
    adds = [x for x in published.workload(from_digits("133111")).layers if x.name == "stage1.cell1.node3.add"]
    assert [(x.c, x.g, x.p) for x in adds] == [(3, 16, 32)]


def test_an_operation_that_nothing_depends_on_is_counted_and_computed_alike(small: Cell) -> None:
    dead = from_digits("310000")  # node 3 reads nothing
    workload, module = small.workload(dead), small.module(dead)
    assert "stage1.cell1.node1.from0" in [layer.name for layer in workload.layers]
    assert workload.parameters == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("digits", ["000000", "100000", "000001", "000111", "000004", "000003", "044000", "333000"])
def test_a_cell_with_nodes_that_nothing_reaches_still_trains(small: Cell, digits: str) -> None:
    torch.manual_seed(0)
    module = small.module(from_digits(digits))
    logits = module(torch.randn(4, 1, 8, 8))
    logits.sum().backward()
    assert logits.shape == (4, 10)
    assert torch.isfinite(logits).all()
    assert any(p.grad is not None for p in module.parameters())


def test_a_node_that_nothing_reaches_is_zeros_and_no_addend(small: Cell) -> None:
    torch.manual_seed(0)
    module = small.module(from_digits("010111")).eval()  # node 1 is zeros; node 2 = input; node 3 = input + 0 + node 2
    (add,) = [x for x in small.workload(from_digits("010111")).layers if x.name == "stage1.cell1.node3.add"]
    assert add.c == 2
    seen = {}
    module.get_submodule("stem").register_forward_hook(lambda m, given, made: seen.update(stem=made))
    module.get_submodule("stage1.cell1.node3.add").register_forward_hook(lambda m, given, made: seen.update(sum=made))
    module(torch.randn(2, 1, 8, 8))
    assert torch.equal(seen["sum"], 2 * seen["stem"])


def test_an_empty_cell_gives_every_image_the_same_logits(small: Cell) -> None:
    module = small.module(from_digits("000000")).eval()
    logits = module(torch.randn(3, 1, 8, 8))
    assert torch.equal(logits[0], logits[1])


def test_strings_and_digits_name_the_same_cell_both_ways() -> None:
    digits = "334131"
    text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
    assert from_string(text) == from_digits(digits)
    assert to_string(from_digits(digits)) == text
    assert to_digits(from_string(text)) == digits
    assert from_digits(digits)["node2.from1"] == "avg_pool_3x3", "the third edge goes from node 1 to node 2"


def test_genes_are_the_unordered_edges_in_the_papers_order(published: Cell) -> None:
    assert [gene.name for gene in published.genes] == [
        "node1.from0",
        "node2.from0",
        "node2.from1",
        "node3.from0",
        "node3.from1",
        "node3.from2",
    ]
    assert all(gene.choices == OPERATIONS and not gene.ordered for gene in published.genes)


@pytest.mark.parametrize("digits", ["33413", "3341311", "334135", "33413x", ""])
def test_wrong_digits_are_refused(digits: str) -> None:
    with pytest.raises(SpecError, match="a cell is 6 digits from 0 to 4"):
        from_digits(digits)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("|none~0|+|none~0|none~1|", "not a cell"),
        ("|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", "not a cell"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+|none~0|", "not a cell"),
        ("|none~0|+|none~0|nor_conv_3~1|+|none~0|none~1|none~2|", "unknown operation 'nor_conv_3'.*nor_conv_3x3"),
        ("", "not a cell"),
    ],
)
def test_a_wrong_string_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        from_string(text)


def test_a_deployment_takes_its_own_resolution_channels_and_classes(published: Cell) -> None:
    workload = published.workload(from_digits("333333"), Task(channels=1, resolution=64, classes=120))
    assert (workload.layers[0].c, workload.layers[0].p, workload.layers[-1].m) == (1, 64, 120)


def test_a_map_that_does_not_halve_twice_is_refused(published: Cell) -> None:
    with pytest.raises(SpecError, match="multiple of 4 pixels, got 30"):
        Cell(CellSettings(), Task(channels=3, resolution=30, classes=10))
    with pytest.raises(SpecError, match="multiple of 4 pixels, got 30"):
        published.workload(from_digits("000000"), Task(channels=3, resolution=30, classes=10))


def test_an_edge_without_an_operation_is_named(published: Cell) -> None:
    with pytest.raises(ValueError, match=r"no value for node2\.from1, node3\.from0"):
        published.workload({"node1.from0": "none", "node2.from0": "none"})
