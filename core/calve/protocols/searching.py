"""Decoding methods and their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Hypothesis", "Search"]

Float32Array: TypeAlias = "NDArray[np.float32]"


@dataclass
class Hypothesis:
    """Result of a search so far.

    Attributes:
      tokens: Symbol ids without blanks.
      timestamps: Encoder frame of each token, counted from the start of the stream.
      score: Sum of the log probabilities of the selected symbols, including blanks.
      words: The words, if the method uses a graph with words.
      word_timestamps: Encoder frame of each word in the graph.
    """

    tokens: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    score: float = 0.0
    words: list[str] = field(default_factory=list)
    word_timestamps: list[int] = field(default_factory=list)


class Search(Protocol):
    """A decoding method bound to a session and its options, for any number of streams at once.

    `start` returns the state of one stream, which is opaque to callers. Streams may therefore be
    added and removed between two calls of `advance`.
    """

    def start(self, **options: Any) -> Any:
        """Return the state of a new stream; ``options`` are the method's options for one stream."""

    def advance(self, streams: Sequence[Any], encoder_out: Sequence[Float32Array]) -> None:
        """Consume the next encoder frames of each stream, batched over the streams.

        Args:
          streams: States from `start`, each at most once; they are modified.
          encoder_out: One array (T', D) for each stream; T' may differ, and be 0.

        Raises:
          DataError: if the networks return NaN.
        """

    def result(self, stream: Any) -> Hypothesis:
        """Return the best hypothesis for all frames that the stream has consumed."""

    def last_timestamp(self, stream: Any) -> int | None:
        """Return the encoder frame of the last symbol found so far; None if there is no symbol.

        Endpointing asks for it after every chunk of every stream, so it must be cheap: it spells no
        hypothesis. A method whose result is costly may answer for its best alignment instead.
        """
