"""Fake quantisation: values are rounded to the grid of an integer type and go on as floats.

Both grids are those of B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
Only Inference", CVPR 2018, r = S (q - Z) (eq. 1), with b bits:

    weights      per output channel, symmetric: Z = 0, q from -(2^(b-1) - 1) to 2^(b-1) - 1. So the scale of a batch
                 norm that follows can be folded in without another rounding: it multiplies a channel's weights and
                 S alike, and q stays the same.
    activations  per tensor, q from 0 to 2^b - 1; Z is a whole number, so that 0 is on the grid (sec. 2.1), and 0 after
                 a ReLU.

S is the least that clips nothing (by the largest weight; by the least and the largest activation), or 2 <|r|> / sqrt(Q)
if that is less, with Q the farthest q from Z (S. K. Esser et al., "Learned Step Size Quantization", ICLR 2020, sec.
2.1, where S starts from it): with few bits, clipping the largest values costs less than a coarse grid.

Gradients pass the rounding as if it were not there and are 0 where a value is clipped (the straight-through
estimator: Y. Bengio, N. Leonard, A. Courville, "Estimating or Propagating Gradients Through Stochastic Neurons for
Conditional Computation", 2013). The ranges of activations are running means of batches' ranges, taken in training
mode (Jacob et al., sec. 3.1), as are the means of |r|, and frozen otherwise. Biases and batch norms are applied to
wide sums: they stay floats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from coevo.networks.graph import Add, Graph, Idle, Node, Product, Shape

_MOMENTUM = 0.05
"""Of the running ranges, once there were as many batches as its inverse."""

_SHRINKS = tuple(1 - 0.04 * i for i in range(18))
"""Steps that `calibrate` tries for weights, over the one that training takes."""

_LEAST_SCALE = 1e-8
"""For channels and maps that are all zeros."""


@dataclass(frozen=True)
class Stored:
    """A value as it is stored: a step of a module only, no node of a graph.

    Attributes:
        name: Of the step.
        source: Node whose output it is.
        bits: Of an activation.
    """

    name: str
    source: str
    bits: int

    @property
    def sources(self) -> tuple[str, ...]:
        """The node whose output it is."""
        return (self.source,)


def with_stored(graph: Graph) -> tuple[tuple[Node | Stored, Shape], ...]:
    """Returns the steps of a graph, each with the shape of its first input, and the values between them as stored.

    What several nodes read with the same bits is quantised once.
    """
    steps: list[tuple[Node | Stored, Shape]] = []
    stored: set[str] = set()
    for node in graph.nodes:
        given = graph.shapes[node.sources[0]]
        if isinstance(node, Idle) or node.bits is None:
            steps.append((node, given))
            continue
        bits = node.bits[1]
        names = {source: f"stored{bits}.{source}" for source in node.sources}
        for source, name in names.items():
            if name not in stored:
                steps.append((Stored(name, source, bits), graph.shapes[source]))
                stored.add(name)
        if isinstance(node, Add | Product):
            read: Any = tuple(names[source] for source in node.sources)
            steps.append((replace(node, sources=read), given))
        else:
            steps.append((replace(node, source=names[node.source]), given))
    return tuple(steps)


class ActivationGrid(nn.Module):
    """Rounds activations to a grid whose range comes from what it sees in training mode.

    Args:
        bits: Of an activation.

    Attributes:
        on: Whether it rounds (and looks); off, values pass as they are.
        most: The largest integer of the grid; 0 is the least.
        low, high: Running means of batches' least and largest values, or 0.
        size: That of their mean magnitudes.
        seen: Number of batches.
    """

    low: Tensor
    high: Tensor
    size: Tensor
    seen: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.on = True
        self.most = 2**bits - 1
        for name in ("low", "high", "size", "seen"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        """Returns values of the same shape, on the grid."""
        if not self.on:
            return values
        if self.training:
            self._look(values.detach())
        scale, zero = self.grid()
        return torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, self.most)

    def grid(self) -> tuple[Tensor, Tensor]:
        """Returns the step and, as an integer from 0 to ``most``, what stands for 0."""
        width = self.high - self.low
        largest = self.most * torch.maximum(self.high, -self.low) / width.clamp(min=_LEAST_SCALE)
        scale = torch.minimum(width / self.most, 2 * self.size / largest.clamp(min=1).sqrt()).clamp(min=_LEAST_SCALE)
        zero = (-self.low / width.clamp(min=_LEAST_SCALE) * self.most).round().to(torch.int32)
        return scale, zero

    @torch.no_grad()
    def _look(self, values: Tensor) -> None:
        """Moves the figures: the mean of the first batches, later a running one."""
        low, high = torch.aminmax(values)
        self.seen += 1
        rate = (1 / self.seen).clamp(min=_MOMENTUM)
        self.low.lerp_(low.clamp(max=0), rate)
        self.high.lerp_(high.clamp(min=0), rate)
        self.size.lerp_(torch.linalg.vector_norm(values, 1) / values.numel(), rate)


class WeightGrid(nn.Module):
    """Rounds weights to a symmetric grid per output channel.

    Args:
        bits: Of a weight.
        channels: Output channels.

    Attributes:
        on: Whether it rounds.
        most: The largest integer of the grid; -most is the least.
        shrink: What `fit` multiplied each channel's step by ``(channel,)``.
    """

    shrink: Tensor

    def __init__(self, bits: int, channels: int) -> None:
        super().__init__()
        self.on = True
        self.most = 2 ** (bits - 1) - 1
        self.register_buffer("shrink", torch.ones(channels))

    def forward(self, weights: Tensor) -> Tensor:
        """Returns weights ``(output channel, ...)`` on the grid."""
        return self._rounded(weights, self.shrink) if self.on else weights

    def _rounded(self, weights: Tensor, shrink: Tensor) -> Tensor:
        scale = self._scale(weights, shrink)
        zero = torch.zeros(len(scale), dtype=torch.int32, device=scale.device)
        return torch.fake_quantize_per_channel_affine(weights, scale, zero, 0, -self.most, self.most)

    def _scale(self, weights: Tensor, shrink: Tensor) -> Tensor:
        sizes = weights.detach().abs().flatten(1)
        scale = torch.minimum(sizes.amax(1) / self.most, 2 * sizes.mean(1) / math.sqrt(self.most))
        return (scale * shrink).clamp(min=_LEAST_SCALE)

    @torch.no_grad()
    def integers(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Returns weights as the integers that stand for them, and each output channel's step ``(channel,)``."""
        scale = self._scale(weights, self.shrink)
        steps = self._rounded(weights, self.shrink) / scale.view(-1, *(1,) * (weights.dim() - 1))
        return steps.round().to(torch.int32), scale

    @torch.no_grad()
    def fit(self, weights: Tensor) -> None:
        """Clips every channel where the squared error of its weights is least."""
        least = torch.full_like(self.shrink, torch.inf)
        for share in _SHRINKS:
            tried = torch.full_like(self.shrink, share)
            error = (self._rounded(weights, tried) - weights).square().flatten(1).sum(1)
            self.shrink.copy_(torch.where(error < least, tried, self.shrink))
            least = torch.minimum(least, error)


class QuantisedConv2d(nn.Conv2d):
    """A convolution whose weights are rounded; parameters and their names are those of ``nn.Conv2d``.

    Args:
        convolution: Of that form.
        bits: Of a weight.
    """

    def __init__(self, convolution: nn.Conv2d, bits: int) -> None:
        nn.Module.__init__(self)
        self.__dict__ |= convolution.__dict__
        self.grid = WeightGrid(bits, convolution.out_channels)

    def forward(self, values: Tensor) -> Tensor:
        """Returns the convolution of values ``(batch, channel, height, width)``."""
        output: Tensor = self._conv_forward(values, self.grid(self.weight), self.bias)
        return output


class QuantisedLinear(nn.Linear):
    """A linear layer whose weights are rounded; parameters and their names are those of ``nn.Linear``.

    Args:
        linear: Of that form.
        bits: Of a weight.
    """

    def __init__(self, linear: nn.Linear, bits: int) -> None:
        nn.Module.__init__(self)
        self.__dict__ |= linear.__dict__
        self.grid = WeightGrid(bits, linear.out_features)

    def forward(self, values: Tensor) -> Tensor:
        """Returns the product with values ``(batch, feature)``."""
        return functional.linear(values, self.grid(self.weight), self.bias)


def set_quantisation(module: nn.Module, on: bool) -> None:
    """Makes all of a module's grids round, or none."""
    for part in module.modules():
        if isinstance(part, ActivationGrid | WeightGrid):
            part.on = on


@torch.no_grad()
def calibrate(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Quantises a module that was trained in floats; leaves it in evaluation mode.

    Weights are clipped where their squared error is least, channel by channel; then the ranges of activations are the
    mean of the batches' ranges, each seen behind quantised layers. A module without grids stays as it is, and no
    batch is read.

    Args:
        module: Its batch norms keep their statistics.
        batches: Images ``(batch, channel, height, width)`` of the training part.
    """
    module.eval()
    set_quantisation(module, True)
    grids = [part for part in module.modules() if isinstance(part, ActivationGrid)]
    for part in module.modules():
        if isinstance(part, QuantisedConv2d | QuantisedLinear):
            part.grid.fit(part.weight)
    for grid in grids:
        grid.seen.zero_()
        grid.train()
    for images in batches if grids else ():
        module(images)
    module.eval()
