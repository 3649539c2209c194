"""Loaded models as searches see them, and the runtimes that load them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from calve.data.geometry import StreamingGeometry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LiveSession", "OfflineSession", "Runtime", "Session", "States", "StreamingSession"]

Float32Array: TypeAlias = "NDArray[np.float32]"
States: TypeAlias = "Mapping[str, NDArray[np.float32]]"
"""Named encoder states of one runtime, in the runtime's own layout; opaque to everyone else."""


@runtime_checkable
class Session(Protocol):
    """A loaded model as a search sees it, whatever runs it. Arrays are float32, contiguous.

    What the encoder does is in `StreamingSession` and `OfflineSession`. N is the number of streams
    or utterances, always the first axis; a runtime that has no batch dimension loops over them. D
    and D' are the runtime's own: what the encoder and `decode_context` return is what `join` takes.
    """

    geometry: StreamingGeometry
    feature_dim: int
    blank_id: int
    initial_symbol: int
    """What the decoder sees before the first symbol, next to one blank: the blank, or -1."""
    context_size: int
    vocab_size: int

    def decode_context(self, contexts: NDArray[np.int64]) -> Float32Array:
        """contexts (N, context_size), -1 = no symbol -> decoder_out (N, D')."""

    def join(self, encoder_out: Float32Array, decoder_out: Float32Array) -> Float32Array:
        """encoder_out (N, D), decoder_out (N, D') -> logits (N, vocab_size)."""


@runtime_checkable
class StreamingSession(Session, Protocol):
    """A session whose encoder goes step by step."""

    def init_states(self, batch_size: int = 1) -> States:
        """Zero states for ``batch_size`` streams.

        Raises:
          ConfigError: if the encoder of a live model cannot stream.
        """

    def select_states(self, states: States, rows: Sequence[int]) -> States:
        """The states of the streams in ``rows``, in that order."""

    def join_states(self, parts: Sequence[States]) -> States:
        """The states of several groups of streams, one group after another, as one batch."""

    def encode_chunk(self, features: Float32Array, states: States) -> tuple[Float32Array, States]:
        """features (N, T, C), T = ``geometry.segment`` -> encoder_out (N, T', D), next states."""


@runtime_checkable
class OfflineSession(Session, Protocol):
    """A session whose encoder sees whole utterances at once."""

    offline_initial_symbol: int
    """`initial_symbol` of icefall's searches on whole utterances: the blank, or -1."""

    def encode(
        self, features: Float32Array, lengths: NDArray[np.int64]
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        """features (N, T, C), lengths (N,) frames -> encoder_out (N, T', D), lengths (N,)."""

    def encode_in_chunks(
        self, features: Float32Array, lengths: NDArray[np.int64]
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        """As `encode`, but what `StreamingSession.encode_chunk` gives step by step.

        Args:
          features: (N, T, C).
          lengths: (N,) frames, whole steps of ``geometry``.

        Raises:
          ConfigError: if the encoder cannot stream, or cannot do so at once.
        """


class LiveSession(StreamingSession, OfflineSession, Protocol):
    """A session on a live model, as the torch runtime opens it."""


class Runtime(Protocol):
    """A driver in the namespace ``calve.runtimes``."""

    @staticmethod
    def open(bundle: Any, *, num_threads: int = 1) -> Session:
        """Load a `calve.bundles.bundle.Bundle` (the torch driver takes a live model instead).

        Returns:
          A `StreamingSession`, or an `OfflineSession` if the manifest says that the bundle does not
          stream.
        """
