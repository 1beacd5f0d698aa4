"""One description, two forms: what the cost model counts is what torch computes, layer by layer."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from coevo.networks import build_family, load_space
from coevo.networks.attention import ChannelNorm, HeadProducts, HeadSums, TokenSequence
from coevo.networks.graph import INPUT, Add, Conv, GlobalPool, Graph, Linear, Norm, Pool, Zeros
from coevo.networks.lowering import lower
from coevo.networks.modules import GraphModule, Sum
from coevo.protocols import Task
from coevo.space import Space
from coevo.workload import Workload

DIGITS, CIFAR = Task(channels=1, resolution=8, classes=10), Task(channels=3, resolution=32, classes=10)
NETWORKS = [
    ("digits_mbconv", DIGITS, 12),
    ("digits_sizing", DIGITS, 6),
    ("digits_bits", DIGITS, 4),
    ("cifar10_mbconv_bits", CIFAR, 2),
    ("cifar10_mbconv", CIFAR, 8),
    ("cifar10_mbconv", Task(channels=4, resolution=20, classes=7), 4),
    ("cifar10_mbconv_layerwise", CIFAR, 8),
    ("digits_vit", DIGITS, 8),
    ("cifar10_vit", CIFAR, 3),
    ("nasbench201", CIFAR, 3),
    ("nasbench201", DIGITS, 3),
    ("fbnet", CIFAR, 3),
]


def measure(module: nn.Module, images: torch.Tensor) -> dict[str, dict[str, object]]:
    """Counts what torch runs, by hooks on its own operators; a convolution's parts count for the node around them."""
    found: dict[str, dict[str, object]] = defaultdict(lambda: {"macs": 0, "operations": 0, "parameters": 0})

    def record(name: str, leaf: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        fused = isinstance(leaf, nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.LayerNorm)
        entry = found[name.rpartition(".")[0] if fused else name]
        macs = output.numel() * leaf.weight[0].numel() if isinstance(leaf, nn.Conv2d | nn.Linear) else 0
        if isinstance(leaf, HeadProducts):
            macs = output.numel() * inputs[0].shape[1] // leaf.heads
        elif isinstance(leaf, HeadSums):
            macs = output.numel() * inputs[0].shape[3]
        if isinstance(leaf, nn.AvgPool2d | nn.MaxPool2d):
            window = leaf.kernel_size**2
        else:
            pooled = {nn.AdaptiveAvgPool2d: inputs[0].numel() / output.numel(), Sum: len(inputs)}
            passes = {ChannelNorm: 2, nn.Softmax: 3, TokenSequence: 2}
            window = (pooled | passes).get(type(leaf), 0)
        alone = isinstance(leaf, nn.BatchNorm2d) and not entry["macs"]
        entry["macs"] += macs
        entry["operations"] += macs + int(output.numel() * (1 if alone else window))
        entry["parameters"] += sum(p.numel() for p in leaf.parameters())
        if not isinstance(leaf, nn.BatchNorm2d) or alone:
            shape = tuple(output.shape)
            if isinstance(leaf, HeadProducts):  # (batch, head, query, key): every key is an output channel of its head
                shape = (shape[0], shape[1] * shape[3], shape[2])
            entry["shape"] = (*shape, 1, 1)[:4]

    counted = nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.AvgPool2d | nn.MaxPool2d | nn.AdaptiveAvgPool2d | Sum
    counted |= TokenSequence | ChannelNorm | HeadProducts | nn.Softmax | HeadSums
    for name, leaf in module.named_modules():
        if isinstance(leaf, counted):
            leaf.register_forward_hook(lambda m, given, made, name=name: record(name, m, given, made))
    with torch.no_grad():
        module.eval()(images)
    return dict(found)


def expected(workload: Workload) -> dict[str, dict[str, object]]:
    return {
        layer.name: {
            "macs": layer.macs,
            "operations": layer.operations,
            "parameters": layer.parameters,
            "shape": (layer.n, layer.g * layer.m, layer.p, layer.q),
        }
        for layer in workload.layers
    }


def assert_agree(workload: Workload, module: nn.Module, task: Task) -> None:
    images = torch.zeros(1, task.channels, task.resolution, task.resolution)
    measured = measure(module, images)
    assert measured == expected(workload)
    assert list(measured) == [layer.name for layer in workload.layers], "layers stand in the order they run"
    assert workload.parameters == sum(p.numel() for p in module.parameters()), "no parameter is outside the layers"
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = module(images)
    assert 2 * workload.macs == counter.get_total_flops(), "torch's own counter agrees"
    assert logits.shape == (1, task.classes)


@pytest.mark.parametrize(("space", "task", "count"), NETWORKS)
def test_layers_of_random_networks_equal_what_torch_runs(space: str, task: Task, count: int) -> None:
    family = build_family(load_space(space), task)
    genes = Space(family.genes)
    for genome in genes.sample(np.random.default_rng(0), count):
        choices = genes.decode(genome)
        assert_agree(family.workload(choices), family.module(choices), task)


def test_every_kind_of_node_lowers_to_what_torch_runs() -> None:
    nodes = (
        Conv("stem", INPUT, 12, kernel=3, stride=2, affine="bias", after="relu"),
        Conv("grouped", "stem", 24, kernel=5, groups=4, after="relu6"),
        Conv("dilated", "grouped", 24, kernel=3, dilation=2, groups=24, before="relu", shuffle=4),
        Conv("bare", "dilated", 24, affine="none"),
        Zeros("zeros", "bare"),
        Add("add", ("bare", "grouped", "zeros")),
        Norm("norm", "add", after="relu"),
        Pool("max", "norm", "max", kernel=3, stride=2),
        Pool("avg", "max", "avg", kernel=2, stride=2),
        Conv("unread", "avg", 5, kernel=3),
        Linear("features", "avg", 6),
        Conv("one_pixel", "features", 4, kernel=3),
        GlobalPool("pool", "avg"),
        Linear("classifier", "pool", 3),
    )
    graph = Graph("all", (2, 19, 19), nodes)
    workload = lower(graph)
    assert_agree(workload, GraphModule(graph), Task(channels=2, resolution=19, classes=3))
    by_name = {layer.name: layer for layer in workload.layers}
    assert (by_name["grouped"].g, by_name["grouped"].m, by_name["grouped"].c) == (4, 6, 3)
    assert (by_name["dilated"].g, by_name["dilated"].m, by_name["dilated"].c) == (24, 1, 1)
    assert by_name["dilated"].dilation == (2, 2)
    assert (by_name["add"].kind, by_name["add"].g, by_name["add"].c) == ("add", 24, 3)
    assert (by_name["pool"].p, by_name["pool"].q, by_name["pool"].r, by_name["pool"].s) == (1, 1, 2, 2)
    assert "zeros" not in by_name
