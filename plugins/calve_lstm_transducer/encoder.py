"""The LSTM encoder: a convolutional front end, then layers of projected LSTM and feed-forward.

The encoder has no right context beyond its front end. Streaming frame by frame therefore gives the
result of the whole utterance. State_dict keys and shapes are those of icefall's
``lstm_transducer_stateless2``. All sequences are batch first, which ncnn requires.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from calve.api import StreamingGeometry
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_transducer.layers.combine import LayerBypass, RandomCombine, auxiliary_layers
from calve_transducer.layers.dropout import Dropout
from calve_transducer.layers.scaling import (
    ActivationBalancer,
    BasicNorm,
    DoubleSwish,
    ScaledLinear,
    ScaledLSTM,
)
from calve_transducer.layers.subsampling import SUBSAMPLING_FACTOR, ConvSubsampling

__all__ = ["LstmEncoder"]

RECEPTIVE_FIELD = 9
"""Receptive field of the front end in feature frames."""


class LstmEncoderLayer(nn.Module):
    """A projected LSTM and a feed-forward module, both residual, then a norm."""

    def __init__(self, config: LstmEncoderConfig) -> None:
        super().__init__()
        projected = config.rnn_hidden_size > config.encoder_dim
        self.lstm = ScaledLSTM(
            config.encoder_dim,
            config.rnn_hidden_size,
            proj_size=config.encoder_dim if projected else 0,
            batch_first=True,
        )
        self.feed_forward = nn.Sequential(
            ScaledLinear(config.encoder_dim, config.dim_feedforward),
            ActivationBalancer(channel_dim=-1),
            DoubleSwish(),
            Dropout(config.dropout),
            ScaledLinear(config.dim_feedforward, config.encoder_dim, initial_scale=0.25),
        )
        self.norm_final = BasicNorm()
        self.balancer = ActivationBalancer(
            channel_dim=-1, min_positive=0.45, max_positive=0.55, max_abs=6.0
        )
        self.dropout = Dropout(config.dropout)
        self.bypass = LayerBypass(config.layer_dropout)

    def forward(
        self, x: Tensor, states: tuple[Tensor, Tensor] | None = None, warmup: float = 1.0
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x (N, T, D), states (1, N, D) and (1, N, H) -> y (N, T, D), next states."""
        recurrent, next_states = self.lstm(x, states)
        y = x + self.dropout(recurrent)
        y = y + self.dropout(self.feed_forward(y))
        y = self.norm_final(self.balancer(y))
        return self.bypass(y, x, warmup), next_states


class LstmLayers(nn.Module):
    """The stack of layers. In training, the output combines auxiliary layers at random."""

    def __init__(self, config: LstmEncoderConfig) -> None:
        super().__init__()
        count = config.num_encoder_layers
        self.layers = nn.ModuleList(LstmEncoderLayer(config) for _ in range(count))
        self.aux_layers = auxiliary_layers(count, config.aux_layer_period)
        self.combiner = RandomCombine(num_inputs=len(self.aux_layers) + 1)

    def forward(self, x: Tensor, warmup: float) -> Tensor:
        """x (N, T, D) from zero states -> y (N, T, D)."""
        auxiliary = []
        for index, layer in enumerate(self.layers):
            x, _ = layer(x, warmup=warmup)
            if index in self.aux_layers:
                auxiliary.append(x)
        if self.training and auxiliary:
            x = self.combiner([*auxiliary, x])
        return x

    def stream(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (N, T, D), hidden (L, N, D), cell (L, N, H) -> y and the next hidden and cell."""
        count = len(self.layers)
        next_hidden, next_cell = [], []
        states = zip(hidden.chunk(count, 0), cell.chunk(count, 0), strict=True)
        for layer, layer_states in zip(self.layers, states, strict=True):
            x, (layer_hidden, layer_cell) = layer(x, layer_states)
            next_hidden.append(layer_hidden)
            next_cell.append(layer_cell)
        return x, torch.cat(next_hidden, 0), torch.cat(next_cell, 0)


class LstmEncoder(nn.Module):
    """A `calve.protocols.StreamingEncoder`; states are ``hidden`` (L, N, D) and ``cell`` (L, N, H).

    L is the number of layers, D ``encoder_dim`` and H ``rnn_hidden_size``.
    """

    geometry = StreamingGeometry(
        shift=SUBSAMPLING_FACTOR,
        overlap=RECEPTIVE_FIELD - SUBSAMPLING_FACTOR,
        subsampling_factor=SUBSAMPLING_FACTOR,
    )
    state_batch_axis = 1

    def __init__(self, config: LstmEncoderConfig) -> None:
        super().__init__()
        _take_projection_warning()
        self.num_encoder_layers = config.num_encoder_layers
        self.rnn_hidden_size = config.rnn_hidden_size
        self.feature_dim = config.feature_dim
        self.output_dim = config.encoder_dim
        self.encoder_embed = ConvSubsampling(
            config.feature_dim,
            config.encoder_dim,
            channels=(
                config.conv_layer1_channels,
                config.conv_layer2_channels,
                config.conv_layer3_channels,
            ),
        )
        self.encoder = LstmLayers(config)

    def forward(self, x: Tensor, x_lens: Tensor, warmup: float = 1.0) -> tuple[Tensor, Tensor]:
        """Whole utterances, from zero states.

        Args:
          x: (N, T, C) float32 features, T >= 9.
          x_lens: (N,) frames of each utterance.
          warmup: Progress of the warm-up in training; from 1 on, all layers have full effect.

        Returns:
          y (N, T', D) and y_lens (N,), T' = (T - 5) // 4.
        """
        return self.encoder(self.encoder_embed(x), warmup), output_lens(x_lens)

    def stream_at_once(self, x: Tensor, x_lens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the result of `stream`, which is `forward` because no layer looks ahead."""
        outputs: tuple[Tensor, Tensor] = self(x, x_lens)
        return outputs

    def init_states(self, batch_size: int) -> dict[str, Tensor]:
        """Return zero states for ``batch_size`` streams."""
        reference = self.encoder_embed.out.weight
        shape = (self.num_encoder_layers, batch_size)
        return {
            "hidden": reference.new_zeros(*shape, self.output_dim),
            "cell": reference.new_zeros(*shape, self.rnn_hidden_size),
        }

    def stream(
        self, x: Tensor, x_lens: Tensor, states: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Run one step over a segment of any length T = 4k + 5.

        Args:
          x: (N, T, C) float32 features.
          x_lens: (N,) frames of each row; integer or float.
          states: From `init_states` or the previous step.

        Returns:
          y (N, T', D), y_lens (N,) of the dtype of ``x_lens``, and the next states.
        """
        y, hidden, cell = self.encoder.stream(
            self.encoder_embed(x), states["hidden"], states["cell"]
        )
        return y, output_lens(x_lens), {"hidden": hidden, "cell": cell}


def output_lens(x_lens: Tensor) -> Tensor:
    """Return the encoder frames for ``x_lens`` feature frames, in the same dtype."""
    overlap = RECEPTIVE_FIELD - SUBSAMPLING_FACTOR
    return torch.div(x_lens - overlap, SUBSAMPLING_FACTOR, rounding_mode="floor")


@functools.cache
def _take_projection_warning() -> None:
    """Run a projected LSTM once to suppress torch's first warning that oneDNN has none.

    The warning cannot be avoided, and a filter would stay in the user's process.
    """
    zeros = functools.partial(torch.zeros, device="cpu")
    states = (zeros(1, 1, 1), zeros(1, 1, 2))
    weights = [zeros(8, 1), zeros(8, 1), zeros(8), zeros(8), zeros(1, 2)]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.lstm(zeros(1, 1, 1), states, weights, True, 1, 0.0, False, False, True)
