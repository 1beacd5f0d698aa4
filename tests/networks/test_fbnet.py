"""FBNet's networks are those that HW-NAS-Bench measured: shapes, multiply-accumulates and parameters."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from coevo.errors import SpecError
from coevo.networks import load_space
from coevo.networks.fbnet import OPERATORS, FBNet, FBNetSettings, from_digits, to_digits
from coevo.networks.graph import INPUT, Conv, Graph
from coevo.networks.modules import Shuffle
from coevo.networks.narrow import narrowed
from coevo.protocols import Task

CIFAR100 = Task(channels=3, resolution=32, classes=100)
BLOCKS = Path(os.environ.get("COEVO_DATA", "nowhere")) / "fbnet_block_lut_cifar100.csv.gz"


def family(**fields: Any) -> FBNet:
    return FBNet(FBNetSettings.model_validate(fields), CIFAR100)


def test_the_shipped_space_is_the_familys_default() -> None:
    space = load_space("fbnet")
    assert space.settings == FBNetSettings()
    assert len(family().genes) == 22


@pytest.mark.parametrize(
    ("digits", "parameters"),
    [
        ("0000000000000000000000", 1_170_676),
        ("7542200017584586545827", 1_769_972),
        ("6037406671070402433001", 1_798_412),
        ("0645256348783685766371", 2_307_300),
    ],
)
def test_networks_have_the_parameters_of_hw_nas_benchs_own_modules(digits: str, parameters: int) -> None:
    """Of ``FBNet_Infer`` (GATECH-EIC/HW-NAS-Bench@393bb8a), which gave the same logits for the same weights."""
    assert family().workload(from_digits(digits)).parameters == parameters


@pytest.mark.skipif(not BLOCKS.is_file(), reason=f"COEVO_DATA holds no {BLOCKS.name}")
def test_every_block_has_the_macs_of_the_published_table() -> None:
    with gzip.open(BLOCKS, "rt") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == 96
    names = list(from_digits("0" * 22))
    for row in rows:
        name = names[int(row["layer"])]
        digits = "".join(str(list(OPERATORS).index(row["op"])) for _ in names)
        layers = {layer.name: layer for layer in family().workload(from_digits(digits)).layers}
        macs = [layers[f"{name}.{part}"].macs for part in ("expand", "depthwise", "project")]
        assert macs == [int(row[column]) for column in ("m_pw1", "m_dw", "m_pw2")]
        assert (f"{name}.add" in layers) == (row["cin"] == row["cout"] and row["stride"] == "1")


def test_a_skip_is_its_input_or_where_the_shape_changes_a_pointwise_convolution() -> None:
    layers = [layer for layer in family().workload(from_digits("8" * 22)).layers if layer.name.startswith("stage")]
    assert [layer.name for layer in layers] == [f"stage{i}.block1.skip" for i in range(2, 8)]
    assert [layer.stride[0] for layer in layers] == [1, 2, 2, 1, 2, 1]


def test_two_groups_are_shuffled_before_the_depthwise_convolution() -> None:
    module = family().module(from_digits("1" + "8" * 21))
    assert [name for name, part in module.named_modules() if isinstance(part, Shuffle)] == [
        "stage1.block1.depthwise.shuffle"
    ]
    channels = torch.arange(6.0).view(1, 6, 1, 1)
    assert Shuffle(2)(channels).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_digits_and_choices_are_the_same_network() -> None:
    digits = "7814887482578345217340"
    assert to_digits(from_digits(digits)) == digits
    assert to_digits(dict(reversed(from_digits(digits).items()))) == digits
    for wrong in ("", "9" * 22, "0" * 21):
        with pytest.raises(SpecError, match="a network is 22 digits from 0 to 8"):
            from_digits(wrong)


def test_a_narrower_network_shuffles_as_many_groups_as_divide_its_channels() -> None:
    graph = narrowed(family().graph(from_digits("1" * 22)), 0.2)  # 184 -> 37 channels
    odd = {node.name: node.shuffle for node in graph.nodes if node.name.endswith("depthwise")}
    assert odd["stage6.block2.depthwise"] == 1
    assert odd["stage5.block2.depthwise"] == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"head": 15}, "even"),
        ({"stages": []}, "at least 1"),
        ({"stages": [{"depth": 1, "width": 8, "step": 2}]}, "step"),
    ],
)
def test_mistakes_in_the_chain_are_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        family(**fields)


def test_strides_that_leave_nothing_are_refused() -> None:
    with pytest.raises(SpecError, match="shrinks a map of 1 pixel to nothing") as caught:
        FBNet(FBNetSettings(), Task(3, 4, 10))
    assert caught.value.field == "stages.5.stride"


def test_channels_that_do_not_divide_into_groups_are_not_shuffled() -> None:
    with pytest.raises(ValueError, match="node odd: 3 channels do not divide into 2 groups to shuffle"):
        Graph("odd", (3, 8, 8), (Conv("odd", INPUT, 4, shuffle=2),))
