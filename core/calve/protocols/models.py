"""The parts of a recipe: an encoder and the model family around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from calve.data.geometry import StreamingGeometry

if TYPE_CHECKING:
    import torch

    from calve.protocols.training import TrainingRun

__all__ = ["ModelFamily", "StreamingEncoder"]


class StreamingEncoder(Protocol):
    """A torch encoder for whole utterances and, if its options allow, for streaming.

    It may have ``stream_at_once(x, x_lens)``, which takes whole utterances of a whole number of
    steps and computes in one call what `stream` computes step by step, with the additional context
    masked. Simulated streaming calls it, and takes real steps if there is none. If another layout
    is faster, the encoder has ``runtime_form()``: an encoder for whole segments with its own
    states. The live runtime calls it on a plain encoder.

    N is the batch size, T the number of feature frames, C the feature dimension, T' the number
    of output frames, D the output dimension.
    """

    geometry: StreamingGeometry
    feature_dim: int
    output_dim: int
    state_batch_axis: Mapping[str, int] | int
    """The axis of the streams: by name of the state, or one for all states."""

    def __call__(self, x: torch.Tensor, x_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole utterances: x (N, T, C) float32, x_lens (N,) int64 -> y (N, T', D), y_lens (N,)."""

    def init_states(self, batch_size: int) -> dict[str, torch.Tensor]:
        """Return zero states for ``batch_size`` streams, in the order of the exported inputs.

        Raises:
          ConfigError: if the encoder cannot stream with its options.
        """

    def stream(
        self, x: torch.Tensor, x_lens: torch.Tensor, states: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """Run one step over a segment; return y (N, T', D), y_lens (N,) and the next states.

        ``x_lens`` is (N,) int64 or float32, because some formats count in floats. ``y_lens`` has
        the same dtype. Next states are new tensors with the names, order and shapes of the old
        ones.
        """


class ModelFamily(Protocol):
    """The model around an encoder: prediction network, joiner, training, exportable parts."""

    runtime: str
    """Name of the driver in ``calve.runtimes`` that runs the models before export."""

    config: type
    """Dataclass of the family's options (vocab_size, context_size, decoder_dim, ...).

    Its field ``sample_rate`` is the sampling rate of the audio; without one it is 16000 Hz.
    """

    training_config: type
    """Dataclass of the training options (num_epochs, initial_lr, ...)."""

    tiny: Mapping[str, Any]
    """Options of a very small model, for tests and the capability matrix."""

    def build(self, encoder: Any, config: Any) -> torch.nn.Module:
        """A model with ``.encoder``, ``.decoder`` and ``.joiner`` in icefall's layout.

        Its attribute ``runtime`` equals that of the family.
        """

    def infer_config(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """Return the family's options that the shapes of a checkpoint determine."""

    def to_plain(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return a copy in which training-only parametrizations are folded into plain layers."""

    def train(self, run: TrainingRun) -> None:
        """Train until ``num_epochs``, or resume; write checkpoints to ``run.exp_dir``."""
