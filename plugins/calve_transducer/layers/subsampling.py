"""The convolutional front end of the "reworked" encoders."""

from __future__ import annotations

from torch import Tensor, nn

from calve_transducer.layers.scaling import (
    ActivationBalancer,
    BasicNorm,
    DoubleSwish,
    ScaledConv2d,
    ScaledLinear,
)

__all__ = ["SUBSAMPLING_FACTOR", "ConvSubsampling"]

SUBSAMPLING_FACTOR = 4


class ConvSubsampling(nn.Module):
    """Three convolutions, two of them with stride 2: (N, T, C) -> (N, T', D).

    T' is (T - 5) // 4, or (T - 3) // 4 with ``padding``.

    Args:
      feature_dim: C.
      output_dim: D.
      channels: Channels of the three convolutions.
      padding: Zeros on each side of both axes, before the first convolution.
    """

    def __init__(
        self, feature_dim: int, output_dim: int, *, channels: tuple[int, int, int], padding: int = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            ScaledConv2d(1, channels[0], kernel_size=3, padding=padding),
            ActivationBalancer(channel_dim=1),
            DoubleSwish(),
            ScaledConv2d(channels[0], channels[1], kernel_size=3, stride=2),
            ActivationBalancer(channel_dim=1),
            DoubleSwish(),
            ScaledConv2d(channels[1], channels[2], kernel_size=3, stride=2),
            ActivationBalancer(channel_dim=1),
            DoubleSwish(),
        )
        bins = (feature_dim - 5 + 2 * padding) // SUBSAMPLING_FACTOR
        self.out = ScaledLinear(channels[2] * bins, output_dim)
        self.out_norm = BasicNorm(learn_eps=False)
        self.out_balancer = ActivationBalancer(channel_dim=-1, min_positive=0.45, max_positive=0.55)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x.unsqueeze(1))
        # Not `flatten`: some releases of pnnx lose its sizes.
        x = self.out(x.transpose(1, 2).reshape(x.size(0), -1, self.out.in_features))
        y: Tensor = self.out_balancer(self.out_norm(x))
        return y
