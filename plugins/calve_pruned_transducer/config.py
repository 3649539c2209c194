"""Options of the conformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calve.api import ConfigError, Range, check_ranges

__all__ = ["ConformerConfig", "infer_config"]


@dataclass(frozen=True)
class ConformerConfig:
    """Sizes, regularization and streaming of the conformer, with the names of icefall's options."""

    num_encoder_layers: int = field(
        default=12, metadata={"help": "Number of conformer layers.", "range": Range(1, 1000)}
    )
    encoder_dim: int = field(
        default=512, metadata={"help": "Dimension of the layers.", "range": Range(2, 65_536)}
    )
    nhead: int = field(
        default=8, metadata={"help": "Number of attention heads.", "range": Range(1, 1024)}
    )
    dim_feedforward: int = field(
        default=2048,
        metadata={
            "help": "Inner dimension of the feed-forward modules.",
            "range": Range(1, 65_536),
        },
    )
    cnn_module_kernel: int = field(
        default=31,
        metadata={"help": "Kernel size of the convolution modules; odd.", "range": Range(1, 4095)},
    )
    feature_dim: int = field(
        default=80, metadata={"help": "Dimension of the feature frames.", "range": Range(1, 1024)}
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
        default=0.1, metadata={"help": "Dropout of each layer's modules.", "range": Range(0, 1)}
    )
    layer_dropout: float = field(
        default=0.075,
        metadata={
            "help": "Probability of nearly bypassing a layer in training; "
            "pruned_transducer_stateless has no such bypass.",
            "range": Range(0, 1),
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
            "help": "Largest random chunk in frames after subsampling, apart from the full length.",
            "range": Range(1, 10_000),
        },
    )
    num_left_chunks: int = field(
        default=4,
        metadata={
            "help": "Chunks of left context for attention in training; -1 for all.",
            "range": Range(-1, 10_000),
        },
    )
    causal_convolution: bool = field(
        default=False,
        metadata={"help": "Use causal convolutions; required for streaming.", "fixed": True},
    )
    decode_chunk_size: int = field(
        default=16,
        metadata={
            "help": "Frames after subsampling that a streaming step advances by.",
            "range": Range(1, 10_000),
        },
    )
    left_context: int = field(
        default=64,
        metadata={
            "help": "Left context of attention in frames after subsampling.",
            "range": Range(0, 10_000),
        },
    )
    right_context: int = field(
        default=0,
        metadata={
            "help": "Right context of attention in frames after subsampling.",
            "range": Range(0, 10_000),
        },
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.encoder_dim % (2 * self.nhead):
            raise ConfigError(
                f"encoder_dim {self.encoder_dim} is not an even multiple of nhead {self.nhead}",
                fix="positions are encoded in pairs, and each head takes an equal share of them",
            )
        if self.cnn_module_kernel % 2 == 0:
            raise ConfigError(f"cnn_module_kernel is {self.cnn_module_kernel}; it must be odd")


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
