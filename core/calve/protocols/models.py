"""What a recipe is made of: an encoder, and the family of models around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from calve.data.geometry import StreamingGeometry

if TYPE_CHECKING:
    import torch

    from calve.protocols.training import TrainingRun

__all__ = ["ModelFamily", "StreamingEncoder"]


class StreamingEncoder(Protocol):
    """A torch encoder that works on whole utterances and, if its options allow, step by step.

    One that sees more in whole utterances than step by step also has ``stream_at_once(x, x_lens)``:
    a call like that on whole utterances, of a whole number of steps, which masks the difference.
    One that steps faster in another arrangement has ``runtime_form()``: an encoder like this one,
    with states of its own, for whole segments; the torch runtime calls it on a plain encoder.

    N is the batch size, T the number of feature frames, C the feature dimension, T' the number
    of output frames, D the output dimension.
    """

    geometry: StreamingGeometry
    feature_dim: int
    output_dim: int
    state_batch_axis: Mapping[str, int] | int
    """The axis that counts streams: by state, or the same for all."""

    def __call__(self, x: torch.Tensor, x_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole utterances: x (N, T, C) float32, x_lens (N,) int64 -> y (N, T', D), y_lens (N,)."""

    def init_states(self, batch_size: int) -> dict[str, torch.Tensor]:
        """Zero states for ``batch_size`` streams; their order is that of the exported inputs.

        Raises:
          ConfigError: if the encoder, with the options that it has, cannot stream.
        """

    def stream(
        self, x: torch.Tensor, x_lens: torch.Tensor, states: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """One step over a segment; returns y (N, T', D), y_lens (N,) and the next states.

        ``x_lens`` is (N,) int64 or float32, since some formats count in floats; ``y_lens`` has the
        same dtype. Next states are new tensors with the names, order and shapes of the old ones.
        """


class ModelFamily(Protocol):
    """What surrounds an encoder: prediction network, joiner, training, exportable parts."""

    runtime: str
    """Name of the driver in ``calve.runtimes`` that runs its models before they are exported."""

    config: type
    """Dataclass of the family's options (vocab_size, context_size, decoder_dim, ...)."""

    training_config: type
    """Dataclass of the training options (num_epochs, initial_lr, ...)."""

    tiny: Mapping[str, Any]
    """Options of a very small model, for tests and the capability matrix."""

    def build(self, encoder: Any, config: Any) -> torch.nn.Module:
        """A model with ``.encoder``, ``.decoder`` and ``.joiner`` in icefall's layout.

        Its attribute ``runtime`` is that of the family.
        """

    def infer_config(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """The family's options that a checkpoint's shapes determine."""

    def to_plain(self, model: torch.nn.Module) -> torch.nn.Module:
        """A copy in which training-only parametrisations are folded into plain layers."""

    def train(self, run: TrainingRun) -> None:
        """Train until ``num_epochs``, or resume; checkpoints appear in ``run.exp_dir``."""
