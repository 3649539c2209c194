"""Modified beam search: at most one symbol a frame, a fixed number of hypotheses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calve.protocols import Hypothesis, Session
from calve.tokens import SymbolTable
from calve_transducer.searches.contexts import Context, ContextCache, silent_symbols
from calve_transducer.searches.frames import join_frames, not_a_number
from calve_transducer.searches.paths import Path
from calve_transducer.searches.scores import add_log, log_probabilities, take_best

__all__ = ["ModifiedBeamSearch", "ModifiedBeamSearchOptions", "ModifiedBeamStream"]

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class ModifiedBeamSearchOptions:
    """Options of `ModifiedBeamSearch`."""

    beam: int = field(default=4, metadata={"help": "Hypotheses that are kept at every frame."})
    temperature: float = field(
        default=1.0,
        metadata={"help": "Divides the logits: above 1, the search is less sure of itself."},
    )
    blank_penalty: float = field(
        default=0.0,
        metadata={"help": "Subtracted from the blank's logit: the higher, the fewer deletions."},
    )

    def __post_init__(self) -> None:
        if self.beam < 1:
            raise ValueError(f"beam is {self.beam}; it must be at least 1")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0")


@dataclass(slots=True)
class _Beam:
    """One hypothesis.

    Attributes:
      path: Its symbols.
      context: The latest of them.
      log_prob: Natural logarithm of its probability, in all alignments that the search kept.
    """

    path: Path
    context: Context
    log_prob: float


@dataclass
class ModifiedBeamStream:
    """What the search knows of one stream.

    Attributes:
      beams: Its hypotheses.
      frames: Encoder frames that are done with.
    """

    beams: list[_Beam]
    frames: int = 0


class ModifiedBeamSearch:
    """icefall's ``modified_beam_search``, as a `calve.protocols.Search`.

    At every frame each hypothesis is continued by a blank or one symbol, and the best
    continuations survive. Those with the same symbols are one hypothesis: their probabilities add
    up, and the timestamps are those of the best. In the end the hypothesis with the best log
    probability for each symbol wins, the initial context included in their number.

    Args:
      session: The networks.
      options: See `ModifiedBeamSearchOptions`.
      symbols: The symbol table; its ``<unk>`` is never emitted but treated as a blank.
      initial_symbol: What the decoder sees before the first symbol, next to one blank; by default
        what the session's real runtime does.
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

    def start(self) -> ModifiedBeamStream:
        """The state of a new stream."""
        return ModifiedBeamStream([_Beam(Path(), self._decode.initial, 0.0)])

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
            continued = self._continue(frames, [beams[number] for number in numbers])
            for number, (values, places) in zip(numbers, continued, strict=True):
                frame = streams[number].frames + step
                if not math.isfinite(values[0]):
                    raise not_a_number(number, frame)
                beams[number] = self._merge(beams[number], values, places, frame)
        for stream, survivors, length in zip(streams, beams, lengths.tolist(), strict=True):
            stream.beams = survivors
            stream.frames += length

    def result(self, stream: ModifiedBeamStream) -> Hypothesis:
        """The best hypothesis for all frames that the stream consumed so far."""
        size = len(self._decode.initial)
        best = max(stream.beams, key=lambda beam: beam.log_prob / (beam.path.length + size))
        tokens, timestamps = best.path.symbols_and_frames()
        return Hypothesis(tokens, timestamps, best.log_prob)

    def _continue(
        self, frames: Float32Array, beams: Sequence[Sequence[_Beam]]
    ) -> list[tuple[list[float], list[int]]]:
        """The best continuations of each stream's hypotheses by one frame.

        Args:
          frames: (N, D), the frame of each stream.
          beams: The hypotheses of each stream.

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
        # Added relative to the best, so that float32 is as exact after an hour as after a second.
        highest = [max(beam.log_prob for beam in one) for one in beams]
        offsets = np.array([beam.log_prob for beam in flat]) - np.repeat(highest, counts)
        log_probs += offsets.astype(np.float32)[:, np.newaxis]
        scores = _rows_of_streams(log_probs, counts)
        values, places = take_best(scores, min(self._options.beam, scores.shape[1]))
        totals = values.astype(np.float64) + np.array(highest)[:, np.newaxis]
        return list(zip(totals.tolist(), places.tolist(), strict=True))

    def _merge(
        self, beams: Sequence[_Beam], values: Sequence[float], places: Sequence[int], frame: int
    ) -> list[_Beam]:
        merged: dict[Path, _Beam] = {}
        for log_prob, place in zip(values, places, strict=True):
            if log_prob == -math.inf:
                break
            source, symbol = divmod(place, self._session.vocab_size)
            beam = beams[source]
            if symbol in self._silent:
                continued = _Beam(beam.path, beam.context, log_prob)
            else:
                path = Path(beam.path, symbol, frame)
                continued = _Beam(path, (*beam.context[1:], symbol), log_prob)
            known = merged.setdefault(continued.path, continued)
            if known is not continued:
                known.log_prob = add_log(known.log_prob, log_prob)
        return list(merged.values())


def _rows_of_streams(log_probs: Float32Array, counts: Sequence[int]) -> Float32Array:
    """(hypotheses, V) -> (streams, most hypotheses of one * V), filled up with -inf."""
    most = max(counts)
    if min(counts) == most:
        return log_probs.reshape(len(counts), -1)
    vocab_size = log_probs.shape[1]
    filled = np.full((len(counts), most, vocab_size), -np.inf, dtype=np.float32)
    filled[np.arange(most) < np.array(counts)[:, np.newaxis]] = log_probs
    return filled.reshape(len(counts), -1)
