from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from coevo.errors import SpecError
from coevo.networks.mbconv import MBConv, MBConvSettings
from coevo.protocols import Task
from coevo.space import Space
from coevo.workload import Workload

TASK = Task(channels=3, resolution=16, classes=10)


def family(task: Task = TASK, **fields: Any) -> MBConv:
    stage = {"depth": 1, "width": 8, **fields.pop("stage", {})}
    data = {"stem": {"width": 8}, "stages": [stage], **fields}
    return MBConv(MBConvSettings.model_validate(data), task)


def names(workload: Workload) -> list[str]:
    return [layer.name for layer in workload.layers]


def test_a_single_value_is_no_gene_and_a_list_is_one() -> None:
    made = family(stage={"width": [8], "kernel": [3, 5], "operator": ["fused", "mbconv"]}, resolution=[16, 8])
    assert [(gene.name, gene.choices, gene.ordered) for gene in made.genes] == [
        ("resolution", (8, 16), True),
        ("stage1.kernel", (3, 5), True),
        ("stage1.operator", ("fused", "mbconv"), False),
    ]


def test_every_field_may_be_a_gene() -> None:
    made = family(
        resolution=[8, 16],
        stem={"width": [4, 8], "kernel": [3, 5], "stride": [1, 2]},
        head={"width": [8, 16]},
        stage={
            "depth": [1, 2],
            "width": [4, 8],
            "kernel": [3, 5],
            "expansion": [1, 2],
            "operator": ["mbconv", "fused"],
            "stride": [1, 2],
        },
    )
    space = Space(made.genes)
    assert space.size == 2**11
    workloads = {made.workload(space.decode(genome)).layers for genome in space.sample(np.random.default_rng(0), 60)}
    assert len(workloads) > 50, "different choices are different networks"


def test_layerwise_blocks_have_genes_of_their_own_that_hang_on_the_depth() -> None:
    made = family(granularity="block", stage={"depth": [1, 2, 4], "kernel": [3, 5]})
    space = Space(made.genes)
    assert [(gene.name, gene.parent, gene.when) for gene in made.genes[1:]] == [
        ("stage1.block1.kernel", None, ()),
        ("stage1.block2.kernel", "stage1.depth", (2, 4)),
        ("stage1.block3.kernel", "stage1.depth", (4,)),
        ("stage1.block4.kernel", "stage1.depth", (4,)),
    ]
    assert space.size == 2 + 4 + 16
    shallow = np.array([[0, 1, 1, 1, 1]])
    assert space.canonical(shallow).tolist() == [[0, 1, 0, 0, 0]]
    workload = made.workload({"stage1.depth": 2, "stage1.block1.kernel": 5, "stage1.block2.kernel": 3})
    kernels = {layer.name: layer.r for layer in workload.layers if layer.name.endswith("depthwise")}
    assert kernels == {"stage1.block1.depthwise": 5, "stage1.block2.depthwise": 3}


def test_a_fixed_depth_leaves_block_genes_without_a_parent() -> None:
    made = family(granularity="block", stage={"depth": 2, "kernel": [3, 5]})
    assert [(gene.name, gene.parent) for gene in made.genes] == [
        ("stage1.block1.kernel", None),
        ("stage1.block2.kernel", None),
    ]


@pytest.mark.parametrize(
    ("operator", "expansion", "layers"),
    [
        ("mbconv", 3, ["expand", "depthwise", "project", "add"]),
        ("mbconv", 1, ["depthwise", "project", "add"]),
        ("fused", 3, ["expand", "project", "add"]),
        ("fused", 1, ["conv", "add"]),
    ],
)
def test_a_block_is_the_published_one(operator: str, expansion: int, layers: list[str]) -> None:
    made = family(stage={"operator": operator, "expansion": expansion, "kernel": 5})
    workload = made.workload({})
    assert names(workload)[1:-2] == [f"stage1.block1.{layer}" for layer in layers]
    spatial = [layer for layer in workload.layers if layer.name.startswith("stage1") and layer.r == 5]
    assert len(spatial) == 1, "one layer has the k x k window"
    assert (spatial[0].g > 1) == (operator == "mbconv"), "depthwise in mbconv, dense in fused"
    module = made.module({})
    activations = {name for name, part in module.named_modules() if isinstance(part, torch.nn.ReLU6)}
    linear = layers[-2] if layers[-2] == "project" else None
    assert activations == {"stem.after"} | {
        f"stage1.block1.{layer}.after" for layer in layers[:-1] if layer != linear
    }, "all but the projection are followed by ReLU6"


def test_only_blocks_that_keep_their_shape_add_their_input() -> None:
    made = family(stage={"depth": 3, "width": 12, "stride": 2})
    assert [name for name in names(made.workload({})) if name.endswith("add")] == [
        "stage1.block2.add",
        "stage1.block3.add",
    ]
    assert not [name for name in names(family(stage={"stride": 2}).workload({})) if name.endswith("add")]


def test_the_stride_is_the_first_blocks() -> None:
    made = family(stage={"depth": 2, "stride": 2, "expansion": 2})
    maps = {layer.name: (layer.p, layer.stride[0]) for layer in made.workload({}).layers if layer.kind == "conv"}
    assert maps["stage1.block1.expand"] == (16, 1)
    assert maps["stage1.block1.depthwise"] == (8, 2)
    assert maps["stage1.block2.depthwise"] == (8, 1)


def test_the_head_is_optional() -> None:
    assert names(family().workload({}))[-2:] == ["head.pool", "head.linear"]
    assert names(family(head={"width": 32}).workload({}))[-3:] == ["head.conv", "head.pool", "head.linear"]


def test_the_chosen_resolution_is_what_is_computed_at() -> None:
    made = family(resolution=[8, 16])
    small, large = (made.workload({"resolution": size}) for size in (8, 16))
    assert (small.layers[0].p, large.layers[0].p) == (8, 16)
    assert small.parameters == large.parameters
    images = torch.zeros(2, 3, 16, 16)
    assert made.module({"resolution": 8})(images).shape == (2, 10)


def test_a_deployment_scales_the_resolution_and_takes_its_channels_and_classes() -> None:
    made = family(resolution=[12, 16])
    deployed = made.workload({"resolution": 12}, Task(channels=1, resolution=224, classes=1000))
    assert deployed.layers[0].p == 168, "12 / 16 of 224"
    assert deployed.layers[0].c == 1
    assert deployed.layers[-1].m == 1000
    assert names(deployed) == names(made.workload({"resolution": 12}))


def test_a_gene_without_a_value_is_named() -> None:
    with pytest.raises(ValueError, match=r"no value for stage1\.kernel"):
        family(stage={"kernel": [3, 5]}).workload({})


def test_strides_that_shrink_the_smallest_map_to_nothing_are_refused() -> None:
    stages = [{"depth": 1, "width": 8, "stride": [1, 2]}] * 3
    with pytest.raises(SpecError, match=r"stages\.2\.stride: a stride of 2 shrinks a map of 1 pixel to nothing .*4x4"):
        family(resolution=[4, 16], stages=stages)
    made = family(resolution=[8, 16], stages=stages)
    assert made.workload({"resolution": 8, "stage1.stride": 2, "stage2.stride": 2, "stage3.stride": 2}).layers[-1]


def test_a_deployment_too_small_for_any_network_is_refused_for_every_network() -> None:
    made = family(stages=[{"depth": 1, "width": 8, "stride": [1, 2]}] * 2)
    gentle = {"stage1.stride": 1, "stage2.stride": 1}
    with pytest.raises(SpecError, match="shrinks a map of 1 pixel to nothing"):
        made.workload(gentle, Task(channels=3, resolution=2, classes=10))
