"""Options of the LSTM encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calve.api import ConfigError, Range, check_ranges

__all__ = ["LstmEncoderConfig", "infer_config"]


@dataclass(frozen=True)
class LstmEncoderConfig:
    """Sizes and regularization of the LSTM encoder, with the names of icefall's options."""

    num_encoder_layers: int = field(
        default=12, metadata={"help": "Number of LSTM layers.", "range": Range(1, 1000)}
    )
    encoder_dim: int = field(
        default=512,
        metadata={
            "help": "Dimension of the encoder output and of the hidden state.",
            "range": Range(1, 65_536),
        },
    )
    rnn_hidden_size: int = field(
        default=1024,
        metadata={
            "help": "Dimension of the LSTM cells; larger ones are projected to --encoder-dim.",
            "range": Range(1, 65_536),
        },
    )
    dim_feedforward: int = field(
        default=2048,
        metadata={
            "help": "Inner dimension of the feed-forward modules.",
            "range": Range(1, 65_536),
        },
    )
    feature_dim: int = field(
        default=80, metadata={"help": "Dimension of the feature frames.", "range": Range(1, 1024)}
    )
    conv_layer1_channels: int = field(
        default=8,
        metadata={
            "help": "Channels of the front end's first convolution.",
            "range": Range(1, 4096),
        },
    )
    conv_layer2_channels: int = field(
        default=32,
        metadata={
            "help": "Channels of the front end's second convolution.",
            "range": Range(1, 4096),
        },
    )
    conv_layer3_channels: int = field(
        default=128,
        metadata={
            "help": "Channels of the front end's third convolution.",
            "range": Range(1, 4096),
        },
    )
    aux_layer_period: int = field(
        default=0,
        metadata={
            "help": "In training, combine the outputs of every N-th layer of the upper two "
            "thirds with the last one at random; 0 for off.",
            "range": Range(0, 1000),
        },
    )
    dropout: float = field(
        default=0.1, metadata={"help": "Dropout of each layer's two modules.", "range": Range(0, 1)}
    )
    layer_dropout: float = field(
        default=0.075,
        metadata={
            "help": "Probability of nearly bypassing a layer in training.",
            "range": Range(0, 1),
        },
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.rnn_hidden_size < self.encoder_dim:
            raise ConfigError(
                f"rnn_hidden_size {self.rnn_hidden_size} is smaller than "
                f"encoder_dim {self.encoder_dim}",
                fix="the LSTM's cells are projected down to encoder_dim, never up",
            )


def infer_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the options that the shapes of a checkpoint determine, as far as they are there.

    Args:
      shapes: Shape by key of the encoder's state_dict.
    """
    config: dict[str, Any] = {}
    layers = {key.split(".")[2] for key in shapes if key.startswith("encoder.layers.")}
    if layers:
        config["num_encoder_layers"] = len(layers)
    recurrent = shapes.get("encoder.layers.0.lstm.weight_hh_l0")
    if recurrent is not None:
        config["rnn_hidden_size"], config["encoder_dim"] = recurrent[0] // 4, recurrent[1]
    feed_forward = shapes.get("encoder.layers.0.feed_forward.0.weight")
    if feed_forward is not None:
        config["dim_feedforward"] = feed_forward[0]
    for number, position in enumerate((0, 3, 6), start=1):
        convolution = shapes.get(f"encoder_embed.conv.{position}.weight")
        if convolution is not None:
            config[f"conv_layer{number}_channels"] = convolution[0]
    return config
