"""Options of the conformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calve.api import ConfigError

__all__ = ["ConformerConfig", "infer_config"]


@dataclass(frozen=True)
class ConformerConfig:
    """Sizes, regularization and streaming of the conformer, with the names of icefall's options."""

    num_encoder_layers: int = field(default=12, metadata={"help": "Number of conformer layers."})
    encoder_dim: int = field(default=512, metadata={"help": "Dimension of the layers."})
    nhead: int = field(default=8, metadata={"help": "Number of attention heads."})
    dim_feedforward: int = field(
        default=2048, metadata={"help": "Inner dimension of the feed-forward modules."}
    )
    cnn_module_kernel: int = field(
        default=31, metadata={"help": "Kernel size of the convolution modules; odd."}
    )
    feature_dim: int = field(default=80, metadata={"help": "Dimension of the feature frames."})
    aux_layer_period: int = field(
        default=0,
        metadata={
            "help": "In training, combine the outputs of every N-th layer of the upper two "
            "thirds with the last one at random; 0 for off."
        },
    )
    dropout: float = field(default=0.1, metadata={"help": "Dropout of each layer's modules."})
    layer_dropout: float = field(
        default=0.075,
        metadata={
            "help": "Probability of nearly bypassing a layer in training; "
            "pruned_transducer_stateless has no such bypass."
        },
    )
    dynamic_chunk_training: bool = field(
        default=False,
        metadata={
            "help": "Train with attention masked to chunks of random size, for streaming; needs "
            "--causal-convolution 1."
        },
    )
    short_chunk_size: int = field(
        default=25,
        metadata={
            "help": "Largest random chunk in frames after subsampling, apart from the full length."
        },
    )
    num_left_chunks: int = field(
        default=4,
        metadata={"help": "Chunks of left context for attention in training; -1 for all."},
    )
    causal_convolution: bool = field(
        default=False,
        metadata={"help": "Use causal convolutions; required for streaming.", "fixed": True},
    )
    decode_chunk_size: int = field(
        default=16, metadata={"help": "Frames after subsampling that a streaming step advances by."}
    )
    left_context: int = field(
        default=64,
        metadata={"help": "Left context of attention in frames after subsampling."},
    )
    right_context: int = field(
        default=0,
        metadata={"help": "Right context of attention in frames after subsampling."},
    )

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be >= {least}")
        if self.encoder_dim % (2 * self.nhead):
            raise ConfigError(
                f"encoder_dim {self.encoder_dim} is not an even multiple of nhead {self.nhead}",
                fix="positions are encoded in pairs, and each head takes an equal share of them",
            )
        if self.cnn_module_kernel % 2 == 0:
            raise ConfigError(f"cnn_module_kernel is {self.cnn_module_kernel}; it must be odd")


_LEAST = {
    "num_encoder_layers": 1,
    "nhead": 1,
    "encoder_dim": 2,
    "short_chunk_size": 1,
    "num_left_chunks": -1,
    "decode_chunk_size": 1,
    "left_context": 0,
    "right_context": 0,
}


def infer_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the options that the shapes of a checkpoint determine, as far as they are there.

    Args:
      shapes: Shape by key of the encoder's state_dict.
    """
    config: dict[str, Any] = {}
    layers = {key.split(".")[2] for key in shapes if key.startswith("encoder.layers.")}
    if layers:
        config["num_encoder_layers"] = len(layers)
    position_bias = shapes.get("encoder.layers.0.self_attn.pos_bias_u")
    if position_bias is not None:
        nhead, head_dim = position_bias
        config["nhead"], config["encoder_dim"] = nhead, nhead * head_dim
    feed_forward = shapes.get("encoder.layers.0.feed_forward.0.weight")
    if feed_forward is not None:
        config["dim_feedforward"] = feed_forward[0]
    depthwise = shapes.get("encoder.layers.0.conv_module.depthwise_conv.weight")
    if depthwise is not None:
        config["cnn_module_kernel"] = depthwise[-1]
    return config
