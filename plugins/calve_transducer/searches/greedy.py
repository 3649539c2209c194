"""Greedy search: at every frame, the best symbol wins."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calve.api import ConfigError
from calve.protocols import Hypothesis, Session

__all__ = ["GreedySearch", "GreedySearchOptions"]

Float32Array = NDArray[np.float32]

_MAX_BLOCK = 8
"""Most frames joined at once with one decoder output."""


@dataclass(frozen=True)
class GreedySearchOptions:
    """Options of `GreedySearch`."""

    max_sym_per_frame: int = field(
        default=1, metadata={"help": "Symbols that one encoder frame may emit at most."}
    )


class GreedySearch:
    """Greedy search over one utterance.

    With ``max_sym_per_frame=1`` and the default context it is the search of the session's real
    runtime, and in torch that of icefall's ``streaming_decode.py``.

    Args:
      session: The networks.
      max_sym_per_frame: After so many symbols the search moves on to the next frame, even if
        another symbol would score best.
      unk_id: A symbol that is never emitted but treated as a blank; None for no such symbol.
      initial_symbol: What the decoder sees before the first symbol, next to one blank: the blank
        as well (icefall's streaming), or -1 for nothing at all (icefall's ``greedy_search``); by
        default what the session's real runtime does.
    """

    def __init__(
        self,
        session: Session,
        *,
        max_sym_per_frame: int = 1,
        unk_id: int | None = None,
        initial_symbol: int | None = None,
    ) -> None:
        if max_sym_per_frame < 1:
            raise ConfigError(f"max_sym_per_frame is {max_sym_per_frame}; it must be at least 1")
        self._session = session
        self._max_sym_per_frame = max_sym_per_frame
        blank = session.blank_id
        self._silent = np.array([blank] if unk_id is None else [blank, unk_id])
        first = session.initial_symbol if initial_symbol is None else initial_symbol
        self._context = [first] * (session.context_size - 1) + [blank]
        self._decoder_out = self._decode_context()
        self._frame = 0
        self._emitted_in_frame = 0
        self._block = 1
        self._hypothesis = Hypothesis()

    def accept(self, encoder_out: Float32Array) -> None:
        """Consume the next encoder frames (T', D) of the stream.

        A block of frames is joined with the current decoder output, which a batched runtime does
        much faster than frame by frame. The first frame that emits a symbol changes that output
        and makes the rest of the block worthless, so blocks start with one frame after a symbol
        and double in length as long as only blanks come.
        """
        start = 0
        while start < len(encoder_out):
            symbols, log_probs = self._best(encoder_out[start : start + self._block])
            emits = (symbols[:, None] != self._silent).all(axis=1)
            blanks = int(emits.argmax()) if emits.any() else len(emits)
            self._skip(log_probs[:blanks])
            start += blanks
            if blanks < len(emits):
                self._emit(int(symbols[blanks]), float(log_probs[blanks]))
                start += self._emitted_in_frame == 0
                self._block = 1
            else:
                self._block = min(2 * self._block, _MAX_BLOCK)

    def result(self) -> Hypothesis:
        """The hypothesis for all frames consumed so far."""
        found = self._hypothesis
        return Hypothesis(list(found.tokens), list(found.timestamps), found.score)

    def _best(self, frames: Float32Array) -> tuple[NDArray[np.intp], Float32Array]:
        logits = self._session.join(frames, np.repeat(self._decoder_out, len(frames), axis=0))
        symbols = logits.argmax(axis=1)
        highest = logits.max(axis=1)
        return symbols, -np.log(np.exp(logits - highest[:, None]).sum(axis=1))

    def _skip(self, log_probs: Float32Array) -> None:
        self._hypothesis.score += float(log_probs.sum())
        self._frame += len(log_probs)
        if len(log_probs):
            self._emitted_in_frame = 0

    def _emit(self, symbol: int, log_prob: float) -> None:
        self._hypothesis.tokens.append(symbol)
        self._hypothesis.timestamps.append(self._frame)
        self._hypothesis.score += log_prob
        self._context = [*self._context[1:], symbol]
        self._decoder_out = self._decode_context()
        self._emitted_in_frame += 1
        if self._emitted_in_frame == self._max_sym_per_frame:
            self._frame += 1
            self._emitted_in_frame = 0

    def _decode_context(self) -> Float32Array:
        return self._session.decode_context(np.array([self._context], dtype=np.int64))
