"""Sessions, the interface of loaded models to searches, and the runtimes that open them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from calve.data.geometry import StreamingGeometry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "WHOLE_UTTERANCES",
    "LiveSession",
    "OfflineSession",
    "Runtime",
    "Session",
    "States",
    "StreamingSession",
]

Float32Array: TypeAlias = "NDArray[np.float32]"
States: TypeAlias = "Mapping[str, NDArray[np.float32]]"
"""Named encoder states in the layout of one runtime; opaque to all other code."""

WHOLE_UTTERANCES = "whole utterances"
"""The mode of an `OfflineSession`, in tables and messages."""


@runtime_checkable
class Session(Protocol):
    """A loaded model, independent of its runtime. Arrays are float32 and contiguous.

    `StreamingSession` and `OfflineSession` add the encoder. N is the number of streams or
    utterances, always the first axis; a runtime without a batch dimension loops over them. D and D'
    depend on the runtime: `join` takes the outputs of the encoder and of `decode_context`.
    """

    geometry: StreamingGeometry
    feature_dim: int
    blank_id: int
    initial_symbol: int
    """The decoder's input before the first symbol, besides one blank: another blank, or -1."""
    context_size: int
    vocab_size: int

    def decode_context(self, contexts: NDArray[np.int64]) -> Float32Array:
        """contexts (N, context_size), -1 = no symbol -> decoder_out (N, D')."""

    def join(self, encoder_out: Float32Array, decoder_out: Float32Array) -> Float32Array:
        """encoder_out (N, D), decoder_out (N, D') -> logits (N, vocab_size)."""


@runtime_checkable
class StreamingSession(Session, Protocol):
    """A session whose encoder runs step by step."""

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
    """A session whose encoder processes whole utterances."""

    offline_initial_symbol: int
    """`initial_symbol` in icefall's decoding of whole utterances: the blank, or -1."""

    def encode(
        self, features: Float32Array, lengths: NDArray[np.int64]
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        """features (N, T, C), lengths (N,) frames -> encoder_out (N, T', D), lengths (N,)."""

    def encode_in_chunks(
        self, features: Float32Array, lengths: NDArray[np.int64]
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        """As `encode`, but with the result of `StreamingSession.encode_chunk` step by step.

        Args:
          features: (N, T, C).
          lengths: (N,) frames, whole steps of ``geometry``.

        Raises:
          ConfigError: if the encoder cannot stream, or has no call for whole utterances that does.
        """


class LiveSession(StreamingSession, OfflineSession, Protocol):
    """A session on a torch model in memory, opened by the torch runtime."""


class Runtime(Protocol):
    """A driver in the namespace ``calve.runtimes``."""

    @staticmethod
    def open(bundle: Any, *, num_threads: int = 1) -> Session:
        """Open a `calve.bundles.bundle.Bundle` (the torch driver takes a model in memory instead).

        Returns:
          A `StreamingSession`, or an `OfflineSession` if the bundle is for whole utterances.
        """
