"""Multi-head self-attention with relative positions, as in Transformer-XL (Dai et al., 2019)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from calve_pruned_transducer.blocks import Blocks

__all__ = ["RelativePositionAttention", "relative_positions"]


def relative_positions(num_queries: int, num_cached: int, reference: Tensor) -> Tensor:
    """Return the sines and cosines of every distance from a query to a key.

    Args:
      num_queries: Frames of the current segment.
      num_cached: Cached frames before it.
      reference: (..., D), for the size, the dtype and the device.

    Returns:
      (1, num_cached + 2 * num_queries - 1, D), from the key furthest to the left on.
    """
    dim, device = reference.size(-1), reference.device
    # In float32 for every model dtype: bfloat16 rounds distances from 257 on.
    distance = torch.arange(num_cached + num_queries - 1, -num_queries, -1, device=device).float()
    rate = torch.exp(torch.arange(0, dim, 2, device=device).float() * -(math.log(10000.0) / dim))
    angle = distance.unsqueeze(1) * rate
    encoded = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)
    return encoded.unsqueeze(0).to(reference.dtype)


class RelativePositionAttention(nn.Module):
    """Self-attention whose scores also depend on the distance from query to key.

    Args:
      dim: Dimension of the frames.
      nhead: Number of heads.
      blocks: Its building blocks.
    """

    if TYPE_CHECKING:  # TorchScript reads the annotations that exist when it compiles.
        pos_bias_u: nn.Parameter
        pos_bias_v: nn.Parameter
        pos_bias_u_scale: nn.Parameter | None
        pos_bias_v_scale: nn.Parameter | None

    def __init__(self, dim: int, nhead: int, blocks: Blocks) -> None:
        super().__init__()
        self.nhead = nhead
        self.scaling = (dim // nhead) ** -0.5
        self.in_proj = blocks.linear(dim, 3 * dim)
        self.out_proj = blocks.linear(dim, dim, initial_scale=0.25)
        self.linear_pos = blocks.linear(dim, dim, bias=False)
        for name in ("pos_bias_u", "pos_bias_v"):
            bias = nn.Parameter(torch.empty(nhead, dim // nhead))
            nn.init.uniform_(bias, -0.1 * math.sqrt(3.0), 0.1 * math.sqrt(3.0))
            self.register_parameter(name, bias)
        for name in ("pos_bias_u_scale", "pos_bias_v_scale"):
            scale = nn.Parameter(torch.zeros(())) if blocks.scaled_position_bias else None
            self.register_parameter(name, scale)

    def forward(
        self, x: Tensor, positions: Tensor, hidden: Tensor, cache: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend from every frame to every frame that is not hidden from it.

        Args:
          x: (N, S, D).
          positions: (1, K + S - 1, D) from `relative_positions`; K is S and the cached frames.
          hidden: (N or 1, S or 1, K) bool; a query without visible keys gets zeros.
          cache: (N, K - S, D), inputs before ``x``.

        Returns:
          y (N, S, D), and the attended inputs (N, K, D).
        """
        inputs = x if cache is None else torch.cat((cache, x), dim=1)
        query, key, value = self.in_proj(inputs).chunk(3, dim=-1)
        query = query[:, inputs.size(1) - x.size(1) :] * self.scaling
        scores = self._scores(query, self._heads(key), self._heads(self.linear_pos(positions)))
        hidden = hidden.unsqueeze(1)
        # Not -inf: a row of -inf gives NaN, whose gradient stays NaN even where the value is
        # replaced. This is about the smallest float16 value.
        scores = scores.masked_fill(hidden, -6e4)
        weights = scores.softmax(dim=-1).masked_fill(hidden, 0.0)
        attended = (weights @ self._heads(value)).transpose(1, 2).reshape(x.shape)
        return self.out_proj(attended), inputs

    def _scores(self, query: Tensor, key: Tensor, position: Tensor) -> Tensor:
        """query (N, S, D), key (N, H, K, D/H), position (1, H, K+S-1, D/H) -> (N, H, S, K)."""
        content_bias, position_bias = self.position_biases()
        content = self._heads(query + content_bias) @ key.transpose(2, 3)
        by_distance = self._heads(query + position_bias) @ position.transpose(2, 3)
        return content + _shift(by_distance)

    def position_biases(self) -> tuple[Tensor, Tensor]:
        """Biases added to the queries for keys and for positions: (D,) each."""
        return (
            self._scaled_bias(self.pos_bias_u, self.pos_bias_u_scale),
            self._scaled_bias(self.pos_bias_v, self.pos_bias_v_scale),
        )

    def _scaled_bias(self, bias: Tensor, scale: Tensor | None) -> Tensor:
        scaled = bias * self.scaling if scale is None else bias * scale.exp()
        return scaled.reshape(-1)

    def _heads(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, H, T, D/H)."""
        return x.reshape(x.size(0), x.size(1), self.nhead, -1).transpose(1, 2)


def _shift(by_distance: Tensor) -> Tensor:
    """(N, H, S, K+S-1), by distance from the furthest left key on -> (N, H, S, K), by key.

    Row i starts S - 1 - i columns to the right. With one column more, and read as one long line,
    each row starts one element less than a row's length after the row before.
    """
    n, nhead, queries, distances = by_distance.shape
    line = functional.pad(by_distance, (0, 1)).reshape(n, nhead, queries * (distances + 1))
    line = line[:, :, queries - 1 : queries - 1 + queries * distances]
    return line.reshape(n, nhead, queries, distances)[..., : distances - queries + 1]
