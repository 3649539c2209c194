"""Decoding methods, and what they find."""

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
    """What a search found so far.

    Attributes:
      tokens: Symbol ids, blank excluded.
      timestamps: Encoder frame of each token, counted from the start of the stream.
      score: Sum of the chosen symbols' log probabilities, blanks included.
      words: The words, if the method follows a graph that knows any.
      word_timestamps: Encoder frame at which the graph says each word.
    """

    tokens: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    score: float = 0.0
    words: list[str] = field(default_factory=list)
    word_timestamps: list[int] = field(default_factory=list)


class Search(Protocol):
    """A decoding method bound to a session and its options, for any number of streams at once.

    What it knows of one stream is in the state that `start` makes, which is opaque to everyone
    else. So streams may come and go between two calls of `advance`.
    """

    def start(self, **options: Any) -> Any:
        """The state of a new stream; ``options`` are those that a method has for each stream."""

    def advance(self, streams: Sequence[Any], encoder_out: Sequence[Float32Array]) -> None:
        """Consume the next encoder frames of each stream, batched over the streams.

        Args:
          streams: States that `start` made, each at most once; they are changed.
          encoder_out: One array (T', D) for each stream; T' may differ, and be 0.

        Raises:
          DataError: if the networks answer with NaN.
        """

    def result(self, stream: Any) -> Hypothesis:
        """The best hypothesis for all frames that the stream consumed so far."""
