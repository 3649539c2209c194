"""Random shortcuts through a stack of layers, which also train lower layers directly."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LayerBypass", "RandomCombine", "auxiliary_layers"]


def auxiliary_layers(num_layers: int, period: int) -> list[int]:
    """Every ``period``-th layer of the upper two thirds, the last excluded; none if it is 0."""
    return list(range(num_layers // 3, num_layers - 1, period)) if period > 0 else []


class LayerBypass(nn.Module):
    """Mixes a layer's input into its output during training; has no parameters.

    The share of the layer's output grows from ``least_share`` to 1 during the warm-up. At random it
    is ``least_share`` again.

    Args:
      layer_dropout: Probability that the layer's share is the least.
      least_share: The least share of the layer's output.
    """

    def __init__(self, layer_dropout: float, *, least_share: float = 0.1) -> None:
        super().__init__()
        self.layer_dropout = layer_dropout
        self.least_share = least_share

    def forward(self, output: Tensor, layer_input: Tensor, warmup: float) -> Tensor:
        """Equal shapes -> the same shape.

        Args:
          warmup: Progress of the warm-up of training, 1 at its end.
        """
        if not self.training:
            return output
        dropped = torch.rand(()).item() > 1.0 - self.layer_dropout
        share = self.least_share if dropped else min(self.least_share + warmup, 1.0)
        return share * output + (1.0 - share) * layer_input


class RandomCombine(nn.Module):
    """Combines several layers' outputs frame by frame with random weights; no parameters.

    For a third of the frames one input is taken alone (in half of the cases the last). For the
    other frames the weights are a softmax of normally distributed scores, with a higher mean for
    the last input.

    Args:
      num_inputs: Number of outputs to combine; the last is the most important.
      final_weight: Probability, or typical weight, of the last input.
      pure_prob: Probability that a frame takes one input alone.
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

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Equal shapes (..., D) -> (..., D)."""
        stacked = torch.stack(inputs, dim=-1)
        frames = stacked.flatten(0, -3)
        weights = self._random_weights(frames.size(0), stacked.device).to(stacked.dtype)
        return torch.matmul(frames, weights.unsqueeze(-1)).view_as(inputs[0])

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
