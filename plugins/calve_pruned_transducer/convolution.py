"""The convolution module of a conformer layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from calve_pruned_transducer.blocks import Blocks

__all__ = ["ConvolutionModule"]


class ConvolutionModule(nn.Module):
    """A gated pointwise, a depthwise and a pointwise convolution over time.

    Args:
      dim: Dimension of the frames.
      kernel_size: Kernel size of the depthwise convolution, in frames.
      causal: Whether the kernel covers past frames; otherwise it is centered.
      blocks: Its building blocks.
    """

    def __init__(self, dim: int, kernel_size: int, *, causal: bool, blocks: Blocks) -> None:
        super().__init__()
        self.pointwise_conv1 = blocks.convolution(dim, 2 * dim, kernel_size=1)
        self.deriv_balancer1 = blocks.balancer(channel_dim=1, max_abs=10.0, max_positive=1.0)
        self.depthwise_conv = blocks.convolution(dim, dim, kernel_size, groups=dim)
        self.deriv_balancer2 = blocks.balancer(channel_dim=1, max_positive=1.0)
        self.norm = blocks.norm(dim)
        self.activation = blocks.activation()
        self.pointwise_conv2 = blocks.convolution(dim, dim, kernel_size=1, initial_scale=0.25)
        past = kernel_size - 1 if causal else (kernel_size - 1) // 2
        self.padding = (past, kernel_size - 1 - past)

    def forward(
        self, x: Tensor, padding: Tensor | None = None, cache: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mix neighboring frames.

        Args:
          x: (N, T, D).
          padding: (N, T) bool, frames to replace by zeros.
          cache: (N, kernel_size - 1, D), gated frames before ``x``; zeros by default.

        Returns:
          y (N, T, D), and the gated input (N, ..., D) of the depthwise convolution.
        """
        gated = functional.glu(self.deriv_balancer1(self.pointwise_conv1(x.transpose(1, 2))), dim=1)
        if padding is not None:
            gated = gated.masked_fill(padding.unsqueeze(1), 0.0)
        if cache is None:
            gated = functional.pad(gated, self.padding)
        else:
            gated = torch.cat((cache.transpose(1, 2), gated), dim=2)
        y = self.deriv_balancer2(self.depthwise_conv(gated))
        y = self.norm(y.transpose(1, 2)).transpose(1, 2)
        y = self.pointwise_conv2(self.activation(y))
        return y.transpose(1, 2), gated.transpose(1, 2)
