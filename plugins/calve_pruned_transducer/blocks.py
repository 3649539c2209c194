"""The building blocks of the two generations of the conformer.

The first generation (``pruned_transducer_stateless``) has plain layers with a layer norm before
each module. The reworked generation (``pruned_transducer_stateless2`` and later) has scaled layers
and balanced gradients instead of these norms. All other code is shared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from calve_pruned_transducer.config import ConformerConfig
from calve_transducer.layers.combine import LayerBypass
from calve_transducer.layers.dropout import Dropout
from calve_transducer.layers.scaling import (
    ActivationBalancer,
    BasicNorm,
    DoubleSwish,
    ScaledConv1d,
    ScaledLinear,
)
from calve_transducer.layers.subsampling import SUBSAMPLING_FACTOR, ConvSubsampling

__all__ = ["PLAIN_BLOCKS", "REWORKED_BLOCKS", "Blocks"]

Layer = TypeVar("Layer", bound=nn.Module)

_CHANNELS = (8, 32, 128)
"""Channels of the reworked front end; fixed in icefall."""


@dataclass(frozen=True)
class Blocks:
    """Builders of the parts of one generation, and its constants.

    Attributes:
      linear: Arguments of `torch.nn.Linear`, and ``initial_scale``.
      convolution: Arguments of `torch.nn.Conv1d`, and ``initial_scale``.
      activation: No arguments.
      balancer: Arguments of `ActivationBalancer`.
      norm: ``(dim)``: before each module of a layer, inside the convolution module, and after
        the last layer.
      final_norm: ``(dim)``: at the end of a layer.
      front_end: ``(config)``: subsamples features.
      feed_forward: ``(config)``.
      bypass: ``(config)``: a `LayerBypass`.
      scaled_position_bias: Whether the attention's position biases have a learned scale; if not,
        they are scaled like the queries.
      feed_forward_share: Weight of each of the two feed-forward modules.
      scaled_input: Whether the first layer's input is multiplied by sqrt(encoder_dim).
      trims_right_context: Whether a streaming step drops the frames of its right context from
        its output.
    """

    linear: Callable[..., nn.Linear]
    convolution: Callable[..., nn.Module]
    activation: Callable[[], nn.Module]
    balancer: Callable[..., nn.Module]
    norm: Callable[[int], nn.Module]
    final_norm: Callable[[int], nn.Module]
    front_end: Callable[[ConformerConfig], nn.Module]
    feed_forward: Callable[[ConformerConfig], nn.Module]
    bypass: Callable[[ConformerConfig], LayerBypass]
    scaled_position_bias: bool
    feed_forward_share: float
    scaled_input: bool
    trims_right_context: bool


class PlainSubsampling(nn.Module):
    """Two convolutions with stride 2: (N, T, C) -> (N, (T - 3) // 4, D)."""

    def __init__(self, feature_dim: int, output_dim: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, output_dim, kernel_size=3, stride=2),
            nn.ReLU(),
            nn.Conv2d(output_dim, output_dim, kernel_size=3, stride=2),
            nn.ReLU(),
        )
        self.out = nn.Linear(output_dim * ((feature_dim - 3) // SUBSAMPLING_FACTOR), output_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x.unsqueeze(1))
        y: Tensor = self.out(x.transpose(1, 2).reshape(x.size(0), -1, self.out.in_features))
        return y


def _without_initial_scale(layer: Callable[..., Layer]) -> Callable[..., Layer]:
    def build(*args: Any, initial_scale: float = 1.0, **kwargs: Any) -> Layer:
        return layer(*args, **kwargs)

    return build


def _identity(*args: Any, **kwargs: Any) -> nn.Module:
    return nn.Identity()


def _plain_feed_forward(config: ConformerConfig) -> nn.Module:
    return nn.Sequential(
        nn.Linear(config.encoder_dim, config.dim_feedforward),
        nn.SiLU(),
        Dropout(config.dropout),
        nn.Linear(config.dim_feedforward, config.encoder_dim),
    )


def _reworked_feed_forward(config: ConformerConfig) -> nn.Module:
    return nn.Sequential(
        ScaledLinear(config.encoder_dim, config.dim_feedforward),
        ActivationBalancer(channel_dim=-1),
        DoubleSwish(),
        Dropout(config.dropout),
        ScaledLinear(config.dim_feedforward, config.encoder_dim, initial_scale=0.25),
    )


def _reworked_final_norm(dim: int) -> nn.Module:
    return BasicNorm()


PLAIN_BLOCKS = Blocks(
    linear=_without_initial_scale(nn.Linear),
    convolution=_without_initial_scale(nn.Conv1d),
    activation=nn.SiLU,
    balancer=_identity,
    norm=nn.LayerNorm,
    final_norm=nn.LayerNorm,
    front_end=lambda config: PlainSubsampling(config.feature_dim, config.encoder_dim),
    feed_forward=_plain_feed_forward,
    bypass=lambda config: LayerBypass(0.0, least_share=1.0),
    scaled_position_bias=False,
    feed_forward_share=0.5,
    scaled_input=True,
    trims_right_context=False,
)

REWORKED_BLOCKS = Blocks(
    linear=ScaledLinear,
    convolution=ScaledConv1d,
    activation=DoubleSwish,
    balancer=ActivationBalancer,
    norm=_identity,
    final_norm=_reworked_final_norm,
    front_end=lambda config: ConvSubsampling(
        config.feature_dim, config.encoder_dim, channels=_CHANNELS, padding=1
    ),
    feed_forward=_reworked_feed_forward,
    bypass=lambda config: LayerBypass(config.layer_dropout),
    scaled_position_bias=True,
    feed_forward_share=1.0,
    scaled_input=False,
    trims_right_context=True,
)
