"""Random mixing of layer outputs, so that lower layers are trained directly too."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["RandomCombine"]


class RandomCombine(nn.Module):
    """Combines several layers' outputs frame by frame with random weights; no parameters.

    For a third of the frames one input is taken whole (the last one half of the time), for the
    rest the weights are a softmax of normally distributed scores that favours the last input.

    Args:
      num_inputs: Number of outputs to combine; the last is the most important.
      final_weight: Probability, or typical weight, of the last input.
      pure_prob: Probability that a frame takes one input whole.
      stddev: Standard deviation of the scores.
    """

    def __init__(
        self,
        num_inputs: int,
        *,
        final_weight: float = 0.5,
        pure_prob: float = 0.333,
        stddev: float = 2.0,
    ) -> None:
        super().__init__()
        self.num_inputs = num_inputs
        self.final_weight = final_weight
        self.pure_prob = pure_prob
        self.stddev = stddev

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Equal shapes (..., D) -> (..., D)."""
        stacked = torch.stack(tuple(inputs), dim=-1)
        weights = self._random_weights(stacked[..., 0, 0].numel(), stacked.device)
        weights = weights.to(stacked.dtype).view(*stacked.shape[:-2], self.num_inputs, 1)
        return torch.matmul(stacked, weights).squeeze(-1)

    def _random_weights(self, num_frames: int, device: torch.device) -> Tensor:
        pure = torch.rand(num_frames, 1, device=device) < self.pure_prob
        return torch.where(
            pure, self._pure_weights(num_frames, device), self._mixed_weights(num_frames, device)
        )

    def _pure_weights(self, num_frames: int, device: torch.device) -> Tensor:
        last = self.num_inputs - 1
        others = torch.randint(last, (num_frames,), device=device)
        final = torch.rand(num_frames, device=device) < self.final_weight
        chosen = torch.where(final, last, others)
        return functional.one_hot(chosen, self.num_inputs).float()

    def _mixed_weights(self, num_frames: int, device: torch.device) -> Tensor:
        scores = self.stddev * torch.randn(num_frames, self.num_inputs, device=device)
        odds = self.final_weight / (1.0 - self.final_weight)
        scores[:, -1] += math.log(odds * (self.num_inputs - 1))
        return scores.softmax(dim=1)
