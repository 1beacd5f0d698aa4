"""A single layer as an ``nn.Module``, for tables of what layers cost on a device."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from coevo.design import digest
from coevo.errors import SpecError
from coevo.workload import Layer, Source

if TYPE_CHECKING:
    from torch import nn


def layer_source(layer: Layer) -> Source:
    """Returns what a workload of that layer alone is of; its input is the box that the layer's window sweeps."""
    height = (layer.p - 1) * layer.stride[0] + (layer.r - 1) * layer.dilation[0] + 1
    width = (layer.q - 1) * layer.stride[1] + (layer.s - 1) * layer.dilation[1] + 1
    key = digest(["layer", layer.kind, layer.shape_key])
    return Source(key, {}, (layer.g * layer.c, height, width), partial(layer_module, layer))


def layer_module(layer: Layer) -> nn.Module:
    """Returns the module of a convolution, a linear layer, a pooling or an addition, of untrained weights.

    Raises:
        SpecError: The layer is of another kind.
    """
    from torch import nn

    window, channels = (layer.r, layer.s), layer.g * layer.c
    if layer.kind in ("conv", "linear"):
        outputs = layer.g * layer.m
        return nn.Conv2d(channels, outputs, window, layer.stride, dilation=layer.dilation, groups=layer.g)
    if layer.kind == "pool":
        return nn.AvgPool2d(window, layer.stride)
    if layer.kind in ("add", "elementwise"):
        # The sum of c operands, which lie side by side among the channels.
        sums = nn.Conv2d(channels, layer.g, 1, groups=layer.g, bias=False)
        nn.init.ones_(sums.weight)
        return sums
    raise SpecError(f"no module is made of a layer of kind {layer.kind} ({layer.name}) alone; measure whole networks")
