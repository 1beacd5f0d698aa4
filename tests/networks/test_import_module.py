"""A user's nn.Module as a workload: published totals, every way of reading the same, coevo's own families the same."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
import torch
from own_networks import NETWORKS, build
from torch import nn
from torch.nn import functional

from coevo.errors import SpecError
from coevo.networks import build_family, load_space
from coevo.networks.importing import torch_module
from coevo.networks.importing.lowering import lower
from coevo.networks.importing.operators import TensorGraph
from coevo.networks.importing.torch_module import read_module
from coevo.networks.importing.torch_run import Reading, run
from coevo.protocols import Task

T, D, H = 197, 192, 3  # tokens, width and heads of ViT-Tiny/16 at 224x224
BLOCK = T * D * 3 * D + 2 * T * T * D + T * D * D + 2 * T * D * 4 * D
PUBLISHED = {
    # torchvision's tables: 1.814 and 0.301 GMAC, 11.69 and 3.50 million parameters
    "resnet18": (1_814_073_344, 11_689_512),
    "mobilenet_v2": (300_774_272, 3_504_872),
    # by hand: patches, one block (qkv, scores and values, projection, MLP), classifier of one token
    "transformer": (196 * 768 * D + BLOCK + D * 1000, None),
    # two blocks of 48 tokens, 128 wide, and the shared output layer
    "language model": (2 * (48 * 12 * 128 * 128 + 2 * 48 * 48 * 128) + 48 * 128 * 1000, None),
}


def imported(network, *inputs, ignored=()):
    return lower(read_module(network, "net", inputs, ignored))


@cache
def known(name):
    """Parameters that torch counts, and the imported workload."""
    network, given = build(name)
    return sum(parameter.numel() for parameter in network.parameters()), imported(network, given)


def kinds(workload):
    return [layer.kind for layer in workload.layers]


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_those_that_torch_counts(name):
    parameters, workload = known(name)
    assert workload.parameters == parameters


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiplications_and_parameters_are_the_published_ones(name):
    macs, parameters = PUBLISHED[name]
    _, workload = known(name)
    assert workload.macs == macs
    assert parameters in (None, workload.parameters)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_on_zeros_reads_the_same_layers_as_an_export(name):
    network, (kind, shape) = build(name)
    reading = Reading(TensorGraph("net"), dict(network.named_modules()))
    with torch_module._quiet():
        run(network, (torch.zeros(1, *shape, dtype=getattr(torch, kind)),), reading)
    seen, exported = lower(reading.graph).layers, known(name)[1].layers
    assert [(x.kind, x.shape_key, x.parameters) for x in seen] == [
        (x.kind, x.shape_key, x.parameters) for x in exported
    ]


@pytest.mark.parametrize("name", ["transformer", "language model", "medley"])
def test_the_core_operators_give_the_same_totals_as_the_composite_ones(name):
    network, (kind, shape) = build(name)
    sample = torch.zeros(1, *shape, dtype=getattr(torch, kind))
    reading = Reading(TensorGraph("net"), dict(network.named_modules()))
    with torch_module._quiet():
        torch_module._read_export(torch.export.export(network, (sample,)).run_decompositions(), reading)
    core, own = lower(reading.graph), known(name)[1]
    assert (core.macs, core.parameters) == (own.macs, own.parameters)


@pytest.mark.parametrize("choices", [{}, {"stage1.depth": 2, "stage1.expansion": 4}])
def test_a_network_of_the_mbconv_family_has_the_layers_that_the_family_says(choices):
    family = build_family(load_space("cifar10_mbconv"), Task(3, 32, 10))
    genes = {gene.name: choices.get(gene.name, gene.choices[-1]) for gene in family.genes}
    own, size = family.workload(genes).layers, genes.get("resolution", 32)
    read = imported(family.module(genes), ("float32", (3, size, size))).layers
    assert [(x.shape_key, x.kind, x.parameters) for x in read] == [(x.shape_key, x.kind, x.parameters) for x in own]
    assert all(mine.name.startswith(its.name) for mine, its in zip(read, own, strict=True) if its.kind == "conv")


def test_layers_bear_the_names_of_the_submodules():
    names = [layer.name for layer in known("language model")[1].layers]
    assert len(set(names)) == len(names)
    assert {"words", "norm", "encoder.layers.1.linear2", "head"} <= set(names)


def test_attention_is_two_products_of_activations_around_a_softmax_of_three_passes():
    layers = {layer.name.rpartition(".")[2]: layer for layer in known("transformer")[1].layers}
    scores, softmax, values = layers["scores"], layers["softmax"], layers["values"]
    assert (scores.kind, scores.g, scores.p, scores.c, scores.m) == ("matmul", H, T, D // H, T)
    assert (values.kind, values.g, values.p, values.c, values.m) == ("matmul", H, T, T, D // H)
    assert softmax.words == (0, 3 * H * T * T, H * T * T)
    assert scores.parameters == values.parameters == 0


def test_queries_that_share_keys_share_them_as_weights():
    class Grouped(nn.Module):
        def forward(self, q, k, v):
            return functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    query, key = ("float32", (8, 5, 4)), ("float32", (2, 7, 4))
    workload = imported(Grouped(), query, key, key)
    scores = workload.layers[0]
    assert (scores.g, scores.p, scores.m, scores.c) == (2, 4 * 5, 7, 4)
    assert workload.macs == 2 * 8 * 5 * 7 * 4


@pytest.mark.parametrize(
    ("network", "inputs", "wanted"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU()), [(3, 8, 8)], ["conv"]),
        (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), [(3, 8, 8)], ["norm", "conv"]),
        (nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3)), [(3, 8, 8)], ["activation", "conv"]),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), [(3, 8, 8)], ["conv", "norm"]),
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Hardswish()), [(4,)], ["linear"]),
        (nn.Sequential(nn.MaxPool2d(2), nn.ReLU()), [(3, 8, 8)], ["pool"]),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(1), nn.Dropout()), [(3, 8, 8)], ["conv", "softmax"]),
        (nn.Sequential(nn.Conv2d(4, 8, 3), nn.PixelShuffle(2), nn.Conv2d(2, 2, 1)), [(4, 8, 8)], ["conv", "conv"]),
        (nn.Sequential(nn.Upsample(scale_factor=2), nn.GroupNorm(1, 3)), [(3, 4, 4)], ["move", "norm"]),
        (nn.Sequential(nn.Linear(4, 8), nn.GLU()), [(4,)], ["linear", "elementwise"]),
        (nn.RMSNorm(8), [(5, 8)], ["norm"]),
    ],
)  # fmt: skip
def test_what_is_fused_and_what_is_a_pass_of_its_own(network, inputs, wanted):
    workload = imported(network, *(("float32", shape) for shape in inputs))
    assert kinds(workload) == wanted
    assert workload.parameters == sum(parameter.numel() for parameter in network.parameters())


class Given(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.function(x, self.conv(x))


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (lambda x, y: y.relu() + y, ["conv"]),  # a function of y alone, word by word
        (lambda x, y: (y, y.relu()), ["conv", "activation"]),  # both are needed
        (lambda x, y: x + y.relu(), ["conv", "add"]),
        (lambda x, y: (x + y).relu(), ["conv", "add"]),
        (lambda x, y: x * y, ["conv", "elementwise"]),
        (lambda x, y: y + y.mT, ["conv", "move", "add"]),  # both orders are needed
        (lambda x, y: y.transpose(2, 3), ["conv"]),  # written in that order
        (lambda x, y: (y, functional.conv2d(x.mT, torch.ones(1, 3, 1, 1))), ["conv", "conv"]),
        (lambda x, y: (y, x.transpose(2, 3) + 1), ["conv", "move", "activation"]),
        (lambda x, y: (y[:, :1].sigmoid(), y[:, 1:]), ["conv"]),  # each part as it is made
        (lambda x, y: (y, y[:, :1].sigmoid()), ["conv", "activation"]),
        (lambda x, y: (y, functional.conv2d(x.relu()[:, :1], torch.ones(1, 1, 1, 1))), ["conv", "activation", "conv"]),
        (lambda x, y: torch.cat([x, y]), ["conv", "move"]),
        (lambda x, y: y.add_(1).view(-1), ["conv"]),
        (lambda x, y: torch.einsum("nchw,ndhw->ncd", x, y), ["conv", "matmul"]),
        (lambda x, y: functional.pad(y, (1, 1)), ["conv", "move"]),
        (lambda x, y: functional.max_pool2d(functional.pad(y, (1, 1)), 2), ["conv", "pool"]),
        (lambda x, y: y.mean((2, 3)), ["conv", "pool"]),
    ],
)  # fmt: skip
def test_what_reads_a_convolution_costs_only_what_cannot_be_done_on_the_way(function, wanted):
    assert kinds(imported(Given(function), ("float32", (3, 4, 4)))) == wanted


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(3, 2, 1, 1), (4, 2, 1, 1), (3, 3, 0, 2), (2, 3, 0, 1)]
)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_transposed_convolution_multiplies_each_input_by_each_tap(axes, kernel, stride, padding, dilation):
    make = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
    network = make(4, 6, kernel, stride, padding, dilation=dilation, groups=2, bias=False)
    size = 5
    made = network(torch.zeros(1, 4, *[size] * axes)).shape[2:]
    workload = imported(network, ("float32", (4, *[size] * axes)))
    # along an axis, tap t makes the outputs o with o + padding - t * dilation a multiple of the stride; those whose
    # input lies outside are counted too, as padding is in any convolution
    taps = sum((o + padding - t * dilation) % stride == 0 for o in range(made[0]) for t in range(kernel))
    assert workload.macs == taps**axes * 4 * 6 // 2
    assert workload.parameters == network.weight.numel()
    assert sum(layer.words[2] for layer in workload.layers) == 6 * made.numel()


def test_a_convolution_over_frames_multiplies_as_often_as_torch():
    network = nn.Conv3d(4, 6, (3, 5, 1), (2, 1, 1), (1, 0, 0), groups=2)
    workload = imported(network, ("float32", (4, 7, 9, 8)))
    made = network(torch.zeros(1, 4, 7, 9, 8))
    assert workload.macs == made.numel() * 2 * 15
    assert workload.layers[0].words[2] == made.numel()
    assert workload.parameters == network.weight.numel() + 6


def test_control_flow_on_values_is_counted_as_it_runs():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.few, self.many, self.head = nn.Linear(4, 4), nn.Linear(4, 400), nn.LazyLinear(3)

        def forward(self, x):
            y = self.few(x)
            return self.head(y if x.sum() < 1 else self.many(y))

    workload = imported(Branches(), ("float32", (4,)))
    assert Counter(kinds(workload)) == {"linear": 2, "pool": 1}
    assert workload.macs == 4 * 4 + 4 * 3


def test_weights_used_twice_are_read_twice_and_counted_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 5)

        def forward(self, x):
            return self.layer(self.layer(x))

    workload = imported(Twice(), ("float32", (5,)))
    assert (workload.macs, workload.parameters) == (50, 30)
    assert [layer.words[0] for layer in workload.layers] == [25, 25]


def test_weights_computed_from_others_cost_nothing_to_compute():
    network = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    workload = imported(network, ("float32", (3, 8, 8)))
    assert kinds(workload) == ["conv"]
    assert workload.parameters == 4 * 27 + 4 + 4


def test_an_operator_that_is_not_understood_is_named_with_its_place_and_the_cure():
    network = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.LSTM(4, 4)))
    with pytest.raises(
        SpecError, match=r"net: 1\.0: operator aten\.lstm is not understood; .*--ignore-unknown aten\.lstm"
    ):
        imported(network, ("float32", (2, 4)))


@pytest.mark.parametrize("ignored", ["aten.topk", "topk"])
def test_an_ignored_operator_counts_as_nothing_and_what_follows_is_counted(ignored):
    class Best(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(2, 3)

        def forward(self, x):
            return self.head(x.topk(2).values)

    with pytest.raises(SpecError, match=r"aten\.topk is not understood"):
        imported(Best(), ("float32", (4,)))
    assert kinds(imported(Best(), ("float32", (4,)), ignored=[ignored])) == ["linear"]


def test_an_input_that_does_not_fit_is_said_in_one_line():
    with pytest.raises(
        SpecError, match=r"net: cannot run on an input of 1x4x8x8 \(change --input\): RuntimeError: Given"
    ):
        imported(nn.Conv2d(3, 4, 3), ("float32", (4, 8, 8)))


def test_a_change_through_a_view_that_cannot_be_followed_is_refused():
    class Sneaky(nn.Module):
        def forward(self, x):
            y = x * 2
            if y.sum() < 1:
                y[:, 0].add_(1)
            return y.relu()

    with pytest.raises(SpecError, match="changed in place through a part or view"):
        imported(Sneaky(), ("float32", (4,)))


def test_a_layer_follows_the_one_before_if_it_alone_reads_what_that_one_computes():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

        def forward(self, x):
            x = functional.relu(self.first(x))
            x = self.second(x)
            return functional.max_pool2d(x + self.third(x), 2)

    layers = imported(Net(), ("float32", (4, 8, 8))).layers
    assert [(x.kind, x.follows) for x in layers] == [
        ("conv", False), ("conv", True), ("conv", False), ("add", False), ("pool", True)
    ]  # fmt: skip
