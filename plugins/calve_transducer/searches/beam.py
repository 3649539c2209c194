"""Beam search with several symbols per frame, after Graves' description of the transducer."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calve.api import Range, check_ranges
from calve.data.tokens import SymbolTable
from calve.protocols import Hypothesis, Session
from calve_transducer.searches.contexts import Context, ContextCache, silent_symbols
from calve_transducer.searches.frames import join_frames, not_a_number
from calve_transducer.searches.paths import Path
from calve_transducer.searches.scores import add_log, log_probabilities, take_best

__all__ = ["BeamSearch", "BeamSearchOptions", "BeamStream"]

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class BeamSearchOptions:
    """Options of `BeamSearch`."""

    beam: int = field(
        default=4, metadata={"help": "Number of hypotheses per frame.", "range": Range(1, 100)}
    )
    temperature: float = field(
        default=1.0,
        metadata={
            "help": "Divides the logits; values above 1 flatten the distribution.",
            "range": Range(0.001, 1000),
        },
    )
    max_sym_per_frame: int = field(
        default=10,
        metadata={"help": "Largest number of symbols per encoder frame.", "range": Range(1, 100)},
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True)
class _PathState:
    """State of a hypothesis besides its path.

    Attributes:
      log_prob: Natural logarithm of its probability, in all alignments that the search kept.
      context: Its latest symbols.
      emitted: Symbols that the current frame has emitted.
    """

    log_prob: float
    context: Context
    emitted: int = 0


_Hypotheses = dict[Path, _PathState]


@dataclass
class BeamStream:
    """State of the search for one stream.

    Attributes:
      kept: Its hypotheses.
      frames: Number of encoder frames consumed.
    """

    kept: _Hypotheses
    frames: int = 0


class _Question(NamedTuple):
    """Contexts of a stream to be scored at its current frame."""

    row: int
    contexts: list[Context]


class _Answer(NamedTuple):
    """Scores of one context: log probabilities of the blank and of the best symbols."""

    blank: float
    symbols: list[tuple[int, float]]


class BeamSearch:
    """icefall's ``beam_search``, as a `calve.protocols.Search`.

    At every frame the search repeatedly extends the most probable hypothesis: by a blank, which
    ends the frame for it, and by the best symbols, which do not. The frame ends when ``beam``
    hypotheses that ended it are more probable than all the others. Hypotheses with the same symbols
    are merged: their probabilities add up, and the timestamps of the first are kept.

    For a model that hardly ever emits a blank, a frame would never end. A hypothesis that emitted
    ``max_sym_per_frame`` symbols in a frame can therefore only end it, and a frame ends after
    ``beam * (max_sym_per_frame + 1)`` extensions at most.

    Args:
      session: The networks.
      options: See `BeamSearchOptions`.
      symbols: The symbol table; its ``<unk>`` is never emitted.
      initial_symbol: Input of the decoder before the first symbol, next to one blank. By default
        the same as in the session's real runtime.
    """

    def __init__(
        self,
        session: Session,
        options: BeamSearchOptions | None = None,
        *,
        symbols: SymbolTable | None = None,
        initial_symbol: int | None = None,
    ) -> None:
        self._session = session
        self._options = options or BeamSearchOptions()
        self._silent = frozenset(silent_symbols(session, symbols))
        self._decode = ContextCache(session, initial_symbol)

    def start(self, context: Sequence[int] = ()) -> BeamStream:
        """Return the state of a new stream that continues after the symbols in ``context``."""
        return BeamStream({Path(): _PathState(0.0, self._decode.after(context))})

    def advance(self, streams: Sequence[BeamStream], encoder_out: Sequence[Float32Array]) -> None:
        """Consume the next encoder frames (T', D) of each stream.

        The networks score all streams in one call, although the streams advance independently.

        Raises:
          DataError: if frames are missing or malformed, or a logit is NaN.
        """
        if not streams:
            return
        rows, lengths = join_frames(streams, encoder_out)
        starts = (lengths.cumsum() - lengths).tolist()
        kept = [stream.kept for stream in streams]
        walks = [
            self._walk(stream, range(start, start + length), stream.frames)
            for stream, start, length in zip(streams, starts, lengths.tolist(), strict=True)
        ]
        # A generator is started by sending it None.
        replies: Mapping[int, Any] = dict.fromkeys(range(len(walks)))
        while replies:
            questions = {}
            for number, reply in replies.items():
                try:
                    questions[number] = walks[number].send(reply)
                except StopIteration as finished:
                    kept[number] = finished.value
            replies = answers = dict(self._answer(rows, questions))
            for number, answer in answers.items():
                if any(math.isnan(one.blank) for one in answer):
                    frame = questions[number].row - starts[number] + streams[number].frames
                    raise not_a_number(number, frame)
        for stream, survivors, length in zip(streams, kept, lengths.tolist(), strict=True):
            stream.kept = survivors
            stream.frames += length

    def result(self, stream: BeamStream) -> Hypothesis:
        """The best hypothesis for all frames that the stream consumed so far."""
        best = self._best(stream)
        tokens, timestamps = best.symbols_and_frames()
        return Hypothesis(tokens, timestamps, stream.kept[best].log_prob)

    def last_timestamp(self, stream: BeamStream) -> int | None:
        """The frame of the best hypothesis' last symbol; None if it has none."""
        return self._best(stream).last_frame

    def _best(self, stream: BeamStream) -> Path:
        size = len(self._decode.initial)
        return max(stream.kept, key=lambda path: stream.kept[path].log_prob / (path.length + size))

    def _walk(
        self, stream: BeamStream, rows: range, first_frame: int
    ) -> Generator[_Question, list[_Answer], _Hypotheses]:
        """Process frames of a stream: yield questions, receive answers, return hypotheses."""
        kept = stream.kept
        for frame, row in enumerate(rows, start=first_frame):
            kept = yield from self._pass_frame(kept, row, frame)
        return kept

    def _pass_frame(
        self, kept: _Hypotheses, row: int, frame: int
    ) -> Generator[_Question, list[_Answer], _Hypotheses]:
        options = self._options
        # Almost always all kept hypotheses are extended: one question for all saves many.
        wanted = list({entry.context for entry in kept.values()})
        answers = dict(zip(wanted, (yield _Question(row, wanted)), strict=True))
        going_on = dict(kept)
        ended: _Hypotheses = {}
        for _ in range(options.beam * (options.max_sym_per_frame + 1)):
            path = max(going_on, key=lambda one: going_on[one].log_prob)
            entry = going_on.pop(path)
            if entry.context not in answers:
                (answers[entry.context],) = yield _Question(row, [entry.context])
            answer = answers[entry.context]
            _add(ended, path, _PathState(entry.log_prob + answer.blank, entry.context))
            if entry.emitted < options.max_sym_per_frame:
                for symbol, log_prob in answer.symbols:
                    context = (*entry.context[1:], symbol)
                    longer = _PathState(entry.log_prob + log_prob, context, entry.emitted + 1)
                    _add(going_on, Path(path, symbol, frame), longer)
            most = max((one.log_prob for one in going_on.values()), default=-math.inf)
            if not going_on or sum(one.log_prob > most for one in ended.values()) >= options.beam:
                break
        best = heapq.nlargest(options.beam, ended, key=lambda path: ended[path].log_prob)
        return {path: ended[path] for path in best}

    def _answer(
        self, rows: Float32Array, questions: dict[int, _Question]
    ) -> Iterator[tuple[int, list[_Answer]]]:
        """Answer the question of each stream with one call of the networks."""
        if not questions:
            return
        counts = [len(question.contexts) for question in questions.values()]
        frames = np.repeat(rows[[question.row for question in questions.values()]], counts, axis=0)
        contexts = [one for question in questions.values() for one in question.contexts]
        log_probs = log_probabilities(
            self._session.join(frames, self._decode(contexts)),
            blank_id=self._session.blank_id,
            temperature=self._options.temperature,
        )
        blanks = log_probs[:, self._session.blank_id].tolist()
        values, places = take_best(log_probs, min(self._options.beam + 1, log_probs.shape[1]))
        answers = iter(
            _Answer(blank, [(s, v) for s, v in zip(*best, strict=True) if s not in self._silent])
            for blank, *best in zip(blanks, places.tolist(), values.tolist(), strict=True)
        )
        for number, count in zip(questions, counts, strict=True):
            yield number, list(itertools.islice(answers, count))


def _add(hypotheses: _Hypotheses, path: Path, entry: _PathState) -> None:
    known = hypotheses.get(path)
    if known is not None:
        entry = replace(known, log_prob=add_log(known.log_prob, entry.log_prob))
    hypotheses[path] = entry
