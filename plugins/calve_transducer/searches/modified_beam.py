"""Modified beam search: at most one symbol per frame, a fixed number of hypotheses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calve.api import ConfigError, Range, check_ranges
from calve.data.hotwords import read_hotwords
from calve.data.tokens import SymbolTable
from calve.protocols import Hypothesis, Session
from calve_transducer.searches.biases import Bias
from calve_transducer.searches.contexts import Context, ContextCache, silent_symbols
from calve_transducer.searches.frames import join_frames, not_a_number
from calve_transducer.searches.hotwords import Hotwords, Speller
from calve_transducer.searches.ngram import NgramModel
from calve_transducer.searches.paths import Path as SymbolPath
from calve_transducer.searches.scores import add_log, log_probabilities, take_best

__all__ = ["ModifiedBeamSearch", "ModifiedBeamSearchOptions", "ModifiedBeamStream"]

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class ModifiedBeamSearchOptions:
    """Options of `ModifiedBeamSearch`."""

    beam: int = field(
        default=4, metadata={"help": "Number of hypotheses per frame.", "range": Range(1, 1000)}
    )
    temperature: float = field(
        default=1.0,
        metadata={
            "help": "Divides the logits; values above 1 flatten the distribution.",
            "range": Range(0.001, 1000),
        },
    )
    blank_penalty: float = field(
        default=0.0,
        metadata={
            "help": "Subtracted from the blank's logit; higher values give fewer deletions.",
            "range": Range(-1000, 1000),
        },
    )

    ngram_lm: Path | None = field(
        default=None,
        metadata={"help": "ARPA file over the model's symbols, for shallow fusion."},
    )
    ngram_lm_scale: float = field(
        default=0.3,
        metadata={
            "help": "Scale of the language model's log probabilities.",
            "range": Range(-1000, 1000),
        },
    )
    hotwords_file: Path | None = field(
        default=None,
        metadata={
            "help": "File of phrases to prefer, one per line, optionally followed by ' :SCORE'."
        },
    )
    hotwords_score: float = field(
        default=1.5,
        metadata={
            "help": "Bonus of each symbol of a hotword, added to the log probability.",
            "range": Range(-1000, 1000),
        },
    )
    bpe_model: Path | None = field(
        default=None,
        metadata={"help": "BPE model for hotwords that are written as words instead of symbols."},
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(slots=True)
class _Beam:
    """One hypothesis.

    Attributes:
      path: Its symbols.
      context: The latest of them.
      log_prob: Natural logarithm of its probability, in all alignments that the search kept, plus
        the stream's biases.
      states: State of each bias.
    """

    path: SymbolPath
    context: Context
    log_prob: float
    states: tuple[int, ...]


@dataclass
class ModifiedBeamStream:
    """State of the search for one stream.

    Attributes:
      beams: Its hypotheses.
      biases: Language models and hotwords.
      frames: Number of encoder frames consumed.
    """

    beams: list[_Beam]
    biases: tuple[Bias, ...] = ()
    frames: int = 0


class ModifiedBeamSearch:
    """icefall's ``modified_beam_search``, as a `calve.protocols.Search`.

    At every frame each hypothesis is extended by a blank or one symbol, and the best extensions are
    kept. Hypotheses with the same symbols are merged: their probabilities add up, and the
    timestamps of the best are kept. The result is the hypothesis with the highest log probability
    per symbol, where the symbols include the initial context.

    The language model and the hotwords are applied at every symbol, before the best extensions are
    chosen. The scores of hypotheses include them.

    Args:
      session: The networks.
      options: See `ModifiedBeamSearchOptions`.
      symbols: The symbol table; its ``<unk>`` is never emitted but treated as a blank.
      initial_symbol: Input of the decoder before the first symbol, next to one blank. By default
        the same as in the session's real runtime.

    Raises:
      ConfigError: if a language model or hotwords are given without the symbol table, or a hotword
        cannot be spelled.
      DataError: if one of their files cannot be read.
    """

    def __init__(
        self,
        session: Session,
        options: ModifiedBeamSearchOptions | None = None,
        *,
        symbols: SymbolTable | None = None,
        initial_symbol: int | None = None,
    ) -> None:
        self._session = session
        self._options = options or ModifiedBeamSearchOptions()
        self._silent = frozenset(silent_symbols(session, symbols))
        self._decode = ContextCache(session, initial_symbol)
        self._symbols = symbols
        self._language_model = self._open_language_model()
        self._hotwords = self._open_hotwords()

    def start(
        self, hotwords: Sequence[str] | None = None, context: Sequence[int] = ()
    ) -> ModifiedBeamStream:
        """Return the state of a new stream.

        Args:
          context: Symbols after which it continues.
          hotwords: Phrases to prefer in this stream, instead of those in the options' file.

        Raises:
          ConfigError: if a hotword cannot be spelled.
        """
        chosen = self._hotwords
        if hotwords is not None:
            chosen = self._compile_hotwords([(phrase, None) for phrase in hotwords])
        biases = tuple(bias for bias in (self._language_model, chosen) if bias is not None)
        states = tuple(bias.initial for bias in biases)
        first = _Beam(SymbolPath(), self._decode.after(context), 0.0, states)
        return ModifiedBeamStream([first], biases)

    def advance(
        self, streams: Sequence[ModifiedBeamStream], encoder_out: Sequence[Float32Array]
    ) -> None:
        """Consume the next encoder frames (T', D) of each stream.

        Raises:
          DataError: if frames are missing or malformed, or a logit is NaN.
        """
        if not streams:
            return
        rows, lengths = join_frames(streams, encoder_out)
        starts = lengths.cumsum() - lengths
        beams = [stream.beams for stream in streams]
        for step in range(lengths.max()):
            active = np.flatnonzero(step < lengths)
            numbers = active.tolist()
            frames = rows[starts[active] + step]
            biases = [streams[number].biases for number in numbers]
            continued = self._continue(frames, [beams[number] for number in numbers], biases)
            for number, (values, places) in zip(numbers, continued, strict=True):
                frame = streams[number].frames + step
                if not math.isfinite(values[0]):
                    raise not_a_number(number, frame)
                source = streams[number]
                beams[number] = self._merge(beams[number], source.biases, values, places, frame)
        for stream, survivors, length in zip(streams, beams, lengths.tolist(), strict=True):
            stream.beams = survivors
            stream.frames += length

    def result(self, stream: ModifiedBeamStream) -> Hypothesis:
        """The best hypothesis for all frames that the stream consumed so far."""
        score, path = self._best(stream)
        tokens, timestamps = path.symbols_and_frames()
        return Hypothesis(tokens, timestamps, score)

    def last_timestamp(self, stream: ModifiedBeamStream) -> int | None:
        """The frame of the best hypothesis' last symbol; None if it has none."""
        return self._best(stream)[1].last_frame

    def _best(self, stream: ModifiedBeamStream) -> tuple[float, SymbolPath]:
        """The best hypothesis' score and symbols."""
        size = len(self._decode.initial)
        finished = [
            (beam.log_prob - _lent(stream.biases, beam), beam.path) for beam in stream.beams
        ]
        return max(finished, key=lambda one: one[0] / (one[1].length + size))

    def _open_language_model(self) -> NgramModel | None:
        options = self._options
        if options.ngram_lm is None:
            return None
        symbols = self._table("ngram_lm")
        return NgramModel(options.ngram_lm, symbols, options.ngram_lm_scale, self._silent)

    def _open_hotwords(self) -> Hotwords | None:
        path = self._options.hotwords_file
        return None if path is None else self._compile_hotwords(read_hotwords(path))

    def _compile_hotwords(self, phrases: Sequence[tuple[str, float | None]]) -> Hotwords:
        speller = Speller(self._table("hotwords"), self._options.bpe_model)
        default = self._options.hotwords_score
        spelt = [
            (speller.spell(phrase), default if score is None else score)
            for phrase, score in phrases
        ]
        return Hotwords(spelt, self._session.vocab_size, self._silent)

    def _table(self, option: str) -> SymbolTable:
        if self._symbols is None:
            raise ConfigError(
                f"{option} needs the symbol table, which is not given",
                fix="give symbols=SymbolTable.read('tokens.txt')",
            )
        return self._symbols.for_vocabulary(self._session.vocab_size)

    def _continue(
        self,
        frames: Float32Array,
        beams: Sequence[Sequence[_Beam]],
        biases: Sequence[tuple[Bias, ...]],
    ) -> list[tuple[list[float], list[int]]]:
        """Return the best extensions of each stream's hypotheses by one frame.

        Args:
          frames: (N, D), the frame of each stream.
          beams: The hypotheses of each stream.
          biases: Those of each stream.

        Returns:
          For each stream the log probabilities, the best first, and for each of these
          ``hypothesis * vocab_size + symbol``.
        """
        counts = [len(one) for one in beams]
        flat = [beam for one in beams for beam in one]
        decoder_out = self._decode([beam.context for beam in flat])
        log_probs = log_probabilities(
            self._session.join(np.repeat(frames, counts, axis=0), decoder_out),
            blank_id=self._session.blank_id,
            blank_penalty=self._options.blank_penalty,
            temperature=self._options.temperature,
        )
        if any(biases):
            _add_biases(log_probs, beams, biases)
        # Scores are relative to the best, so that float32 is as exact after an hour as after a
        # second.
        highest = [max(beam.log_prob for beam in one) for one in beams]
        offsets = np.array([beam.log_prob for beam in flat]) - np.repeat(highest, counts)
        log_probs += offsets.astype(np.float32)[:, np.newaxis]
        scores = _rows_of_streams(log_probs, counts)
        values, places = take_best(scores, min(self._options.beam, scores.shape[1]))
        totals = values.astype(np.float64) + np.array(highest)[:, np.newaxis]
        return list(zip(totals.tolist(), places.tolist(), strict=True))

    def _merge(
        self,
        beams: Sequence[_Beam],
        biases: Sequence[Bias],
        values: Sequence[float],
        places: Sequence[int],
        frame: int,
    ) -> list[_Beam]:
        merged: dict[SymbolPath, _Beam] = {}
        for log_prob, place in zip(values, places, strict=True):
            if log_prob == -math.inf:
                break
            source, symbol = divmod(place, self._session.vocab_size)
            beam = beams[source]
            if symbol in self._silent:
                continued = _Beam(beam.path, beam.context, log_prob, beam.states)
            else:
                path = SymbolPath(beam.path, symbol, frame)
                states = _following(biases, beam.states, symbol)
                continued = _Beam(path, (*beam.context[1:], symbol), log_prob, states)
            known = merged.setdefault(continued.path, continued)
            if known is not continued:
                known.log_prob = add_log(known.log_prob, log_prob)
        return list(merged.values())


def _following(biases: Sequence[Bias], states: tuple[int, ...], symbol: int) -> tuple[int, ...]:
    return tuple(bias.following(state, symbol) for bias, state in zip(biases, states, strict=True))


def _lent(biases: Sequence[Bias], beam: _Beam) -> float:
    return sum(bias.lent(state) for bias, state in zip(biases, beam.states, strict=True))


def _add_biases(
    log_probs: Float32Array,
    beams: Sequence[Sequence[_Beam]],
    biases: Sequence[tuple[Bias, ...]],
) -> None:
    """Add the biases to the rows of all streams' hypotheses, stream by stream."""
    rows = iter(log_probs)
    for of_stream, those in zip(biases, beams, strict=True):
        for beam in those:
            row = next(rows)
            for bias, state in zip(of_stream, beam.states, strict=True):
                row += bias.scores(state)


def _rows_of_streams(log_probs: Float32Array, counts: Sequence[int]) -> Float32Array:
    """(hypotheses, V) -> (streams, most hypotheses of one * V), filled up with -inf."""
    most = max(counts)
    if min(counts) == most:
        return log_probs.reshape(len(counts), -1)
    vocab_size = log_probs.shape[1]
    filled = np.full((len(counts), most, vocab_size), -np.inf, dtype=np.float32)
    filled[np.arange(most) < np.array(counts)[:, np.newaxis]] = log_probs
    return filled.reshape(len(counts), -1)
