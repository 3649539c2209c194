"""Greedy search: selects the best symbol of every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calve.api import Range, check_ranges
from calve.data.tokens import SymbolTable
from calve.protocols import Hypothesis, Session
from calve_transducer.searches.contexts import Context, ContextCache, silent_symbols
from calve_transducer.searches.frames import join_frames, not_a_number

__all__ = ["GreedySearch", "GreedySearchOptions", "GreedyStream"]

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]

_MAX_BLOCK = 8
"""Largest number of frames of one stream in one joiner call."""

_ROWS = 16
"""Number of rows above which the time of a joiner call is proportional to the rows."""


@dataclass(frozen=True)
class GreedySearchOptions:
    """Options of `GreedySearch`."""

    max_sym_per_frame: int = field(
        default=1,
        metadata={"help": "Largest number of symbols per encoder frame.", "range": Range(1, 100)},
    )
    blank_penalty: float = field(
        default=0.0,
        metadata={
            "help": "Subtracted from the blank's logit; higher values give fewer deletions.",
            "range": Range(-1000, 1000),
        },
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass
class GreedyStream:
    """State of greedy search for one stream.

    Attributes:
      context: The latest symbols.
      hypothesis: The result so far.
      frames: Number of encoder frames consumed.
      emitted: Number of symbols that the next frame has emitted already.
    """

    context: Context
    hypothesis: Hypothesis = field(default_factory=Hypothesis)
    frames: int = 0
    emitted: int = 0


class GreedySearch:
    """Greedy search, as a `calve.protocols.Search`.

    With one symbol per frame and the default context it equals the search of the session's real
    runtime; in torch, that of icefall's ``streaming_decode.py``.

    Args:
      session: The networks.
      options: After ``max_sym_per_frame`` symbols the search moves on to the next frame, even if
        another symbol would score best.
      symbols: The symbol table; its ``<unk>`` is never emitted but treated as a blank.
      initial_symbol: Input of the decoder before the first symbol, next to one blank: a second
        blank (icefall's streaming), or -1 for no symbol (icefall's ``greedy_search``). By default
        the same as in the session's real runtime.
    """

    def __init__(
        self,
        session: Session,
        options: GreedySearchOptions | None = None,
        *,
        symbols: SymbolTable | None = None,
        initial_symbol: int | None = None,
    ) -> None:
        self._session = session
        self._options = options or GreedySearchOptions()
        self._emittable = np.ones(session.vocab_size, dtype=bool)
        self._emittable[silent_symbols(session, symbols)] = False
        self._decode = ContextCache(session, initial_symbol)

    def start(self, context: Sequence[int] = ()) -> GreedyStream:
        """Return the state of a new stream that continues after the symbols in ``context``."""
        return GreedyStream(self._decode.after(context))

    def advance(self, streams: Sequence[GreedyStream], encoder_out: Sequence[Float32Array]) -> None:
        """Consume the next encoder frames (T', D) of each stream.

        A block of each stream's frames is joined with the current decoder output. With few rows
        this takes a runtime little longer than one frame. The first frame that emits a symbol
        changes the decoder output and invalidates the rest of the block. The first block after a
        symbol is therefore one frame, and the length doubles with each block of blanks.

        Raises:
          DataError: if frames are missing or malformed, or a logit is NaN.
        """
        if not streams:
            return
        rows, lengths = join_frames(streams, encoder_out)
        work = _Work(streams, lengths, self._options.max_sym_per_frame)
        decoder_out = self._decode(work.contexts)
        while (block := work.next_block()).size:
            symbols, log_probs = self._best(
                rows.take(block.rows, axis=0), decoder_out.take(block.owners, axis=0)
            )
            emitting = work.consume(block, symbols, log_probs, self._emittable[symbols])
            if len(emitting):
                decoder_out[emitting] = self._decode([work.contexts[index] for index in emitting])
        work.write_back(streams)

    def result(self, stream: GreedyStream) -> Hypothesis:
        """The hypothesis for all frames that the stream consumed so far."""
        found = stream.hypothesis
        return Hypothesis(list(found.tokens), list(found.timestamps), found.score)

    def last_timestamp(self, stream: GreedyStream) -> int | None:
        """The frame of the last symbol; None if there is none."""
        timestamps = stream.hypothesis.timestamps
        return timestamps[-1] if timestamps else None

    def _best(
        self, encoder_out: Float32Array, decoder_out: Float32Array
    ) -> tuple[Int64Array, Float32Array]:
        """Return the best symbol of each row and its log probability."""
        logits = self._session.join(encoder_out, decoder_out)
        if self._options.blank_penalty:
            logits[:, self._session.blank_id] -= self._options.blank_penalty
        symbols = logits.argmax(axis=1)
        logits -= logits[np.arange(len(logits)), symbols, np.newaxis]
        return symbols, -np.log(np.exp(logits, out=logits).sum(axis=1))


class _Block(NamedTuple):
    """Frames that are joined in one call, grouped by stream.

    Attributes:
      active: (A,) streams in the block.
      sizes: (A,) number of frames of each.
      firsts: (A,) index of the first frame of each in the block.
      owners: (size,) the stream of each frame.
      within: (size,) index of each frame among those of its stream.
      rows: (size,) index of each frame among all encoder frames.
    """

    active: Int64Array
    sizes: Int64Array
    firsts: Int64Array
    owners: Int64Array
    within: Int64Array
    rows: Int64Array

    @property
    def size(self) -> int:
        return len(self.rows)


def _until_emission(
    block: _Block, emits: NDArray[np.bool_], log_probs: Float32Array
) -> tuple[Int64Array, Float32Array]:
    """Return (A,) the frames before the first emission and (A,) the log probability up to it."""
    if block.size == len(block.active):
        return (~emits).astype(np.int64), log_probs
    sizes = np.repeat(block.sizes, block.sizes)
    blanks = np.minimum.reduceat(np.where(emits, block.within, sizes), block.firsts)
    used = block.within <= np.repeat(blanks, block.sizes)
    return blanks, np.add.reduceat(np.where(used, log_probs, 0), block.firsts)


class _Work:
    """The streams of one call of `GreedySearch.advance`, as arrays; N is their number.

    Only `write_back` changes the streams, so that they are unchanged if the networks fail.

    Attributes:
      contexts: The context of each stream.
    """

    def __init__(
        self, streams: Sequence[GreedyStream], lengths: Int64Array, max_sym_per_frame: int
    ) -> None:
        count = len(streams)
        self.contexts = [stream.context for stream in streams]
        self._lengths = lengths
        self._ends = lengths.cumsum()
        self._positions = self._ends - lengths
        self._numbers = np.array([stream.frames for stream in streams]) - self._positions
        self._max_sym_per_frame = max_sym_per_frame
        self._emitted = np.array([stream.emitted for stream in streams])
        self._block_sizes = np.ones(count, dtype=np.int64)
        self._scores = np.zeros(count)
        self._found: list[tuple[Int64Array, Int64Array, Int64Array]] = []

    def next_block(self) -> _Block:
        """Return the next block; None if all frames are consumed."""
        active = np.flatnonzero(self._positions < self._ends)
        left = self._ends[active] - self._positions[active]
        sizes = np.minimum(
            np.minimum(self._block_sizes[active], left), max(1, _ROWS // max(1, len(active)))
        )
        firsts = sizes.cumsum() - sizes
        owners = np.repeat(active, sizes)
        within = np.arange(len(owners)) - np.repeat(firsts, sizes)
        return _Block(active, sizes, firsts, owners, within, self._positions[owners] + within)

    def consume(
        self,
        block: _Block,
        symbols: Int64Array,
        log_probs: Float32Array,
        emits: NDArray[np.bool_],
    ) -> Int64Array:
        """Consume the best symbol of each frame; return the streams that emitted one.

        Raises:
          DataError: if a log probability is NaN or infinite.
        """
        finite = np.isfinite(log_probs)
        if not finite.all():
            wrong = int(finite.argmin())
            owner = int(block.owners[wrong])
            raise not_a_number(owner, int(block.rows[wrong] + self._numbers[owner]))
        blanks, scores = _until_emission(block, emits, log_probs)
        self._scores[block.active] += scores
        self._positions[block.active] += blanks
        self._emitted[block.active[blanks > 0]] = 0
        emitting = blanks < block.sizes
        longer = np.minimum(2 * block.sizes, _MAX_BLOCK)
        self._block_sizes[block.active] = np.where(emitting, 1, longer)
        streams = block.active[emitting]
        self._emit(streams, symbols[(block.firsts + blanks)[emitting]])
        return streams

    def _emit(self, streams: Int64Array, symbols: Int64Array) -> None:
        numbers = self._positions[streams] + self._numbers[streams]
        self._found.append((streams, symbols, numbers))
        for stream, symbol in zip(streams.tolist(), symbols.tolist(), strict=True):
            self.contexts[stream] = (*self.contexts[stream][1:], symbol)
        self._emitted[streams] += 1
        full = streams[self._emitted[streams] == self._max_sym_per_frame]
        self._emitted[full] = 0
        self._positions[full] += 1

    def write_back(self, streams: Sequence[GreedyStream]) -> None:
        """Store the results in the streams."""
        for index, stream in enumerate(streams):
            stream.context = self.contexts[index]
            stream.emitted = int(self._emitted[index])
            stream.frames += int(self._lengths[index])
            stream.hypothesis.score += float(self._scores[index])
        for found in self._found:
            for owner, symbol, number in zip(*(part.tolist() for part in found), strict=True):
                streams[owner].hypothesis.tokens.append(symbol)
                streams[owner].hypothesis.timestamps.append(number)
