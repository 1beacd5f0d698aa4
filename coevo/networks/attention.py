"""What a transformer computes with tokens ``(batch, channel, token, 1)``, as modules.

Of this file nothing but torch is needed: `coevo.networks.exporting.torch_source` copies classes from it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TokenSequence(nn.Module):
    """Pixels as tokens, row by row, perhaps behind a learnt class token; each has a learnt position added.

    Source: A. Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, eq. 1.
    """

    def __init__(self, channels: int, pixels: int, class_token: bool) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, channels, 1, 1)) if class_token else None
        self.positions = nn.Parameter(0.02 * torch.randn(1, channels, pixels + class_token, 1))

    def forward(self, values: Tensor) -> Tensor:
        """Returns tokens of maps ``(batch, channel, height, width)``."""
        tokens = values.flatten(2).unsqueeze(3)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(values), -1, -1, -1), tokens], dim=2)
        return tokens + self.positions


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of every token."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, values: Tensor) -> Tensor:
        """Returns values of the same shape."""
        return super().forward(values.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class HeadProducts(nn.Module):
    """Products of queries and keys, head by head, over the root of their length."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Returns scores ``(batch, head, query, key)``."""
        batch, channels, count, _ = queries.shape
        length = channels // self.heads
        queries = queries.reshape(batch, self.heads, length, count).transpose(2, 3)
        scores: Tensor = queries @ keys.reshape(batch, self.heads, length, -1) / length**0.5
        return scores


class HeadSums(nn.Module):
    """Sums of values, head by head, weighted by ``(batch, head, query, key)``."""

    def forward(self, weights: Tensor, values: Tensor) -> Tensor:
        """Returns tokens, one per query."""
        batch, channels, count, _ = values.shape
        parts = values.reshape(batch, weights.shape[1], -1, count)
        return (parts @ weights.transpose(2, 3)).reshape(batch, channels, -1, 1)
