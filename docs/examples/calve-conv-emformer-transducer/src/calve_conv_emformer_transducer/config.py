"""The encoder's options; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calve.api import ConfigError, StreamingGeometry

SUBSAMPLING_FACTOR = 4
FRONT_END_OVERLAP = 11
"""Feature frames that the front end reads beyond those that a step advances; as in sherpa-ncnn."""


def _trained(default: int, help_text: str) -> int:
    """An option that the weights were trained with and that their shapes do not tell."""
    return field(default=default, metadata={"help": help_text, "fixed": True})


@dataclass(frozen=True)
class Config:
    """Sizes of the encoder. Chunk and right context are in feature frames, as in icefall."""

    num_encoder_layers: int = field(default=4, metadata={"help": "Number of layers."})
    encoder_dim: int = field(default=144, metadata={"help": "Dimension of the encoder output."})
    dim_feedforward: int = field(
        default=384, metadata={"help": "Width of the feed-forward layers."}
    )
    cnn_module_kernel: int = field(
        default=15, metadata={"help": "Frames that the convolution of a layer sees."}
    )
    nhead: int = _trained(4, "Number of attention heads.")
    chunk_length: int = _trained(32, "Feature frames per step, a multiple of 4.")
    right_context_length: int = _trained(8, "Feature frames that a step looks ahead, likewise.")
    left_context_length: int = _trained(16, "Encoder frames before a chunk that it attends to.")
    memory_size: int = _trained(4, "How many of the last chunks it remembers the mean of.")

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be >= {least}")
        for name in ("chunk_length", "right_context_length"):
            if getattr(self, name) % SUBSAMPLING_FACTOR:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it must be a multiple of "
                    f"{SUBSAMPLING_FACTOR}"
                )
        if self.encoder_dim % self.nhead:
            raise ConfigError(
                f"encoder_dim {self.encoder_dim} is no multiple of nhead {self.nhead}"
            )

    @property
    def geometry(self) -> StreamingGeometry:
        """How the encoder walks over feature frames: in chunks of one length."""
        return StreamingGeometry(
            shift=self.chunk_length,
            overlap=FRONT_END_OVERLAP + self.right_context_length,
            subsampling_factor=SUBSAMPLING_FACTOR,
            left_context=self.left_context_length,
            right_context=self.right_context_length // SUBSAMPLING_FACTOR,
            dynamic=False,
        )


# A state without any frame is nothing that ncnn can be fed with.
_LEAST = {
    "num_encoder_layers": 1,
    "encoder_dim": 1,
    "nhead": 1,
    "cnn_module_kernel": 2,
    "chunk_length": 1,
    "right_context_length": 0,
    "left_context_length": 1,
    "memory_size": 1,
}


def infer_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The options that the shapes of the encoder's entries in a checkpoint determine."""
    return {
        "num_encoder_layers": len(
            {key.split(".")[1] for key in shapes if key.startswith("layers.")}
        ),
        "encoder_dim": shapes["norm.weight"][0],
        "dim_feedforward": shapes["layers.0.feed_forward.1.weight"][0],
        "cnn_module_kernel": shapes["layers.0.convolution.depthwise.weight"][2],
    }
