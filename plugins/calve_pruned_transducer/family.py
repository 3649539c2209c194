"""The model family of the first generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from calve_transducer.family import TransducerFamily
from calve_transducer.model import config as transducer_config
from calve_transducer.training.config import TrainingConfig

if TYPE_CHECKING:
    import torch

__all__ = ["PlainTransducerFamily"]


class PlainTransducerFamily:
    """A `calve.protocols.ModelFamily` without projections, otherwise like `TransducerFamily`.

    ``decoder_dim`` is the embedding's dimension, ``joiner_dim`` that inside the joiner.
    """

    runtime = transducer_config.RUNTIME
    config = transducer_config.TransducerConfig
    training_config = TrainingConfig
    tiny = transducer_config.TINY

    def build(self, encoder: Any, config: transducer_config.TransducerConfig) -> torch.nn.Module:
        """Build a `Transducer` around ``encoder``, which gets an output layer for symbols."""
        from calve_pruned_transducer.plain_transducer import plain_parts
        from calve_transducer.model.transducer import Transducer

        encoder.add_output_layer(config.vocab_size)
        return Transducer(encoder, config, plain_parts)

    def infer_config(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """Return vocabulary, context and dimensions from the shapes of a whole checkpoint."""
        config = transducer_config.infer_config(shapes)
        inner = shapes.get("joiner.inner_linear.weight")
        if inner is not None:
            config["joiner_dim"] = inner[0]
        return config

    to_plain = TransducerFamily.to_plain
    train = TransducerFamily.train
