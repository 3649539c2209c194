"""The transducer as a model family: builds, reads and converts models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from calve_transducer.model import config as transducer_config
from calve_transducer.training.config import TrainingConfig

if TYPE_CHECKING:
    import torch

    from calve.protocols import TrainingRun

__all__ = ["TransducerFamily"]


class TransducerFamily:
    """A `calve.protocols.ModelFamily`; importing it does not import torch."""

    runtime = transducer_config.RUNTIME
    config = transducer_config.TransducerConfig
    training_config = TrainingConfig
    tiny = transducer_config.TINY

    def build(self, encoder: Any, config: transducer_config.TransducerConfig) -> torch.nn.Module:
        """A `calve_transducer.model.transducer.Transducer` around ``encoder``."""
        from calve_transducer.model.transducer import Transducer

        return Transducer(encoder, config)

    def infer_config(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """Vocabulary, context and dimensions from the shapes of a whole checkpoint."""
        return transducer_config.infer_config(shapes)

    def to_plain(self, model: torch.nn.Module) -> torch.nn.Module:
        """A copy in eval mode with the scaled layers folded into plain ones."""
        from calve_transducer.layers.conversion import to_plain

        return to_plain(model)

    def train(self, run: TrainingRun) -> None:
        """Train with the pruned transducer loss; see `calve_transducer.training.trainer.train`."""
        from calve_transducer.training.trainer import train

        train(run)
