"""Words, multiply-accumulates and parameters of every kind of layer, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from coevo.workload import DIMS, MULTIPLYING, PASSES, Layer, LayerKind, Workload

DENSE = Layer("dense", "conv", m=16, c=3, p=8, q=6, r=3, s=5, affine=32)
LAYERS = {
    # name: (layer, macs, (weights, inputs, outputs), parameters)
    "dense": (DENSE, 16 * 3 * 48 * 15, (16 * 3 * 15, 3 * 10 * 10, 16 * 48), 720 + 32),
    "batch": (replace(DENSE, n=2), 2 * 34_560, (720, 2 * 300, 2 * 768), 752),
    "depthwise": (Layer("l", "conv", g=8, p=4, q=4, r=3, s=3), 8 * 16 * 9, (72, 8 * 36, 8 * 16), 72),
    "grouped": (Layer("l", "conv", g=2, m=4, c=3, p=5, q=5), 2 * 12 * 25, (24, 2 * 3 * 25, 2 * 4 * 25), 24),
    # rows 0, 2, 4, 6 of a 3-tap window reach row 8; columns 0, 3 reach column 5
    "strided": (Layer("l", "conv", p=4, q=2, r=3, s=3, stride=(2, 3)), 8 * 9, (9, 9 * 6, 8), 9),
    # taps 0, 2, 4 on rows 0..3 reach row 7; taps 0, 3, 6 on columns 0, 1 reach column 7
    "dilated": (Layer("l", "conv", p=4, q=2, r=3, s=3, dilation=(2, 3)), 8 * 9, (9, 8 * 8, 8), 9),
    "linear": (Layer("l", "linear", m=10, c=64, affine=10), 640, (640, 64, 10), 650),
    "pool": (Layer("l", "pool", g=8, p=3, q=3, r=2, s=2, stride=(2, 2)), 0, (0, 8 * 36, 8 * 9), 0),
    "add": (Layer("l", "add", g=8, c=2, p=4, q=4), 0, (0, 2 * 8 * 16, 8 * 16), 0),
    # QK^T of 3 heads: 7 queries against 5 keys of 4 words, which stand for the weights and are no parameters
    "scores": (Layer("l", "matmul", g=3, m=5, c=4, p=7), 3 * 7 * 5 * 4, (3 * 5 * 4, 3 * 7 * 4, 3 * 7 * 5), 0),
    "tied": (Layer("l", "linear", m=10, c=64, affine=10, tied=True), 640, (640, 64, 10), 10),
    "norm": (Layer("l", "norm", g=8, c=PASSES["norm"], p=4, affine=16), 0, (0, 2 * 32, 32), 16),
    "softmax": (Layer("l", "softmax", g=3, c=PASSES["softmax"], p=7, q=5), 0, (0, 3 * 105, 105), 0),
    "activation": (Layer("l", "activation", g=8, p=4), 0, (0, 32, 32), 0),
    "move": (Layer("l", "move", g=8, p=4), 0, (0, 32, 32), 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_words_macs_and_parameters_are_those_counted_by_hand(name):
    layer, macs, words, parameters = LAYERS[name]
    assert (layer.macs, layer.words, layer.parameters) == (macs, words, parameters)


@pytest.mark.parametrize(("name", "operations"), [("dense", 34_560), ("pool", 8 * 9 * 4), ("add", 8 * 2 * 16)])
def test_operations_count_what_data_movers_do_too(name, operations):
    assert LAYERS[name][0].operations == operations


@pytest.mark.parametrize("kind", get_args(LayerKind))
def test_every_kind_of_layer_reads_and_writes_words_and_takes_operations(kind):
    layer = Layer("l", kind, g=2, c=3, p=4)
    assert layer.operations == 24
    assert layer.words[1:] == (24, 8)
    assert layer.has_weights == (kind in MULTIPLYING) == (layer.words[0] > 0) == (layer.macs > 0)


def test_a_workload_sums_its_layers_repeats_included():
    workload = Workload("w", (DENSE, LAYERS["linear"][0], DENSE, LAYERS["pool"][0]))
    assert workload.macs == 2 * 34_560 + 640
    assert workload.parameters == 2 * 752 + 650


def test_bounds_stand_in_the_order_of_the_dims():
    layer = Layer("l", "conv", n=1, g=2, m=3, c=4, p=5, q=6, r=7, s=8)
    assert layer.bounds == tuple(getattr(layer, dim) for dim in DIMS) == (1, 2, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize("change", [{dim: 0} for dim in DIMS] + [{"m": -1}, {"stride": (1, 0)}, {"dilation": (0, 1)}])
def test_bounds_strides_and_dilations_below_one_are_refused(change):
    with pytest.raises(ValueError, match="layer dense: loop bounds, stride and dilation must be at least 1"):
        replace(DENSE, **change)


@pytest.mark.parametrize("change", [{"name": "other"}, {"affine": 5}, {"tied": True}, {"kind": "linear"}])
def test_names_and_parameters_do_not_tell_shapes_apart(change):
    assert replace(DENSE, **change).shape_key == DENSE.shape_key


@pytest.mark.parametrize(
    "change", [*({dim: 99} for dim in DIMS), {"stride": (2, 1)}, {"dilation": (1, 2)}, {"kind": "pool"},
               {"bits": (8, 8, 8)}]
)  # fmt: skip
def test_whatever_a_cost_model_sees_tells_shapes_apart(change):
    assert replace(DENSE, **change).shape_key != DENSE.shape_key


def test_a_layer_that_keeps_an_operand_twice_is_refused():
    with pytest.raises(ValueError, match="layer l: keeps an operand twice: outputs, outputs"):
        Layer("l", "conv", kept=("outputs", "outputs"))


def test_layers_read_the_one_before_unless_told_otherwise():
    layers = tuple(replace(DENSE, name=name) for name in "abc")
    assert Workload("net", layers).reads == ((), (0,), (1,))
    assert Workload("net", layers, after=((), (), (0, 1))).reads == ((), (), (0, 1))


@pytest.mark.parametrize("after", [((), (0,)), ((), (1,), ()), ((), (), (1, 0)), ((), (), (0, 0)), ((), (-1,), ())])
def test_a_layer_that_reads_no_layer_before_it_is_refused(after):
    layers = tuple(replace(DENSE, name=name) for name in "abc")
    with pytest.raises(ValueError, match=r"net: (3 layers, but 2 of them|layer [bc] must read layers before it)"):
        Workload("net", layers, after=after)
