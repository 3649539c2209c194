"""Options of the transducer around an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calve.api import ConfigError, Range, check_ranges

__all__ = ["RUNTIME", "TINY", "TransducerConfig", "infer_config"]

RUNTIME = "torch"
"""Name of the driver in ``calve.runtimes`` that runs transducers before they are exported."""

TINY: Mapping[str, Any] = {"vocab_size": 30, "decoder_dim": 16, "joiner_dim": 16}
"""Options of a very small model."""


@dataclass(frozen=True)
class TransducerConfig:
    """Sizes of the decoder (prediction network) and the joiner."""

    vocab_size: int = field(
        default=500,
        metadata={
            "help": "Number of symbols, including blank (lines of tokens.txt).",
            "range": Range(2, 1_000_000),
        },
    )
    context_size: int = field(
        default=2,
        metadata={
            "help": "Number of symbols in the context of the decoder: 1 for "
            "a bigram, 2 for a trigram.",
            "range": Range(1, 64),
        },
    )
    decoder_dim: int = field(
        default=512, metadata={"help": "Dimension of the decoder.", "range": Range(1, 65_536)}
    )
    joiner_dim: int = field(
        default=512,
        metadata={
            "help": "Dimension of the sum of encoder and decoder outputs.",
            "range": Range(1, 65_536),
        },
    )
    sample_rate: int = field(
        default=16000,
        metadata={
            "help": "Sampling rate in Hz of the audio that the model was trained on; recordings "
            "are converted to it.",
            "fixed": True,
            "range": Range(8000, 48_000),
        },
    )
    blank_id: int = field(
        default=0, metadata={"help": "Id of the blank symbol.", "range": Range(0, 999_999)}
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.blank_id >= self.vocab_size:
            raise ConfigError(
                f"blank_id is {self.blank_id}; the ids of {self.vocab_size} symbols end before it"
            )


def infer_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The options that a checkpoint's shapes determine; entries it lacks are left out.

    Args:
      shapes: Shape by state_dict key.
    """
    config: dict[str, Any] = {}
    embedding = shapes.get("decoder.embedding.weight")
    if embedding is not None:
        config["vocab_size"], config["decoder_dim"] = embedding
        convolution = shapes.get("decoder.conv.weight")
        config["context_size"] = 1 if convolution is None else convolution[-1]
    projection = shapes.get("joiner.encoder_proj.weight")
    if projection is not None:
        config["joiner_dim"] = projection[0]
    return config
