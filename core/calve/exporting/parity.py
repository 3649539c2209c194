"""Parity: numerical agreement of two runtimes on the same model.

Each session is *observed* on the same features: chained chunks with carried states, or whole
utterances; some decoder contexts, some joiner inputs, a greedy search. Two observations are then
compared; one of them may have been stored (`calve.exporting.golden`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.data.geometry import StreamingGeometry
from calve.decoding.encoder_views import WHOLE_UTTERANCES, WholeUtterances
from calve.errors import DataError, ExportError
from calve.protocols import OfflineSession, Session, States, StreamingSession

__all__ = [
    "LIMITS",
    "MIN_CHUNKS",
    "Observation",
    "OutputParity",
    "ParityReport",
    "compare",
    "observe",
    "observe_offline",
]

Float32Array = NDArray[np.float32]

LIMITS = {"fp32": 1e-4, "fp16": 1e-2, "int8": 2e-2}
"""Largest error allowed, by precision of the weights; see `_limit`.

Rounding to float16 was measured to cost 1e-3 of the largest value in a model of 84 million
parameters, and 7e-3 in a tiny random one. An int8 bundle is held to its own golden numbers: on
another processor an activation may round to the neighboring step. So is every other scheme that a
quantizer may have.
"""

MIN_CHUNKS = 20
"""Fewer chained chunks would not show an error that builds up in the states."""

_UTTERANCES = 4
"""Whole utterances of as many lengths are encoded side by side."""

_CONTEXTS = 32

_READ_BY_SEARCHES = frozenset(("encoder_out", "decoder_out", "logits"))


@dataclass(frozen=True)
class Observation:
    """What a session answered.

    Attributes:
      chunk_ms: Milliseconds per chunk; None if whole utterances were encoded.
      chunks: Chained chunks, or whole utterances, that were encoded.
      outputs: Arrays by name: "encoder_out" (frames, D), the final states as the session names
        them (flattened), "decoder_out" (K, D') and "logits" (K, vocab_size).
      tokens: Symbols that greedy search found in all frames.
    """

    chunk_ms: int | None
    chunks: int
    outputs: dict[str, Float32Array]
    tokens: tuple[int, ...]

    @property
    def unit(self) -> str:
        """What ``chunks`` counts, in words."""
        return WHOLE_UTTERANCES if self.chunk_ms is None else "chained chunks"


@dataclass(frozen=True)
class OutputParity:
    """Agreement on one output.

    Attributes:
      chunk_ms: Milliseconds per chunk with which it was observed; None for whole utterances.
      chunks: Chained chunks, or whole utterances.
      output: Name of the output.
      max_abs_error: Largest absolute difference.
      limit: Largest absolute difference allowed.
      peak: Largest absolute value of the reference.
    """

    chunk_ms: int | None
    chunks: int
    output: str
    max_abs_error: float
    limit: float
    peak: float

    @property
    def observed(self) -> str:
        """How it was observed, in words."""
        return WHOLE_UTTERANCES if self.chunk_ms is None else f"chunks of {self.chunk_ms} ms"


@dataclass(frozen=True)
class ParityReport:
    """Agreement of a candidate with a reference.

    Attributes:
      precision: Precision of the candidate's weights, which sets the limits.
      outputs: One entry per output and chunk length.
      tokens: Greedy tokens of the candidate.
      reference_tokens: Greedy tokens of the reference.
    """

    precision: str
    outputs: tuple[OutputParity, ...]
    tokens: tuple[int, ...]
    reference_tokens: tuple[int, ...]

    @property
    def max_abs_error(self) -> float:
        """The largest error of all outputs."""
        return max(output.max_abs_error for output in self.outputs)

    @property
    def tokens_equal(self) -> bool:
        """Whether greedy search found the same symbols."""
        return self.tokens == self.reference_tokens

    def __add__(self, other: ParityReport) -> ParityReport:
        """Both reports as one: for the same model observed with another chunk length."""
        return ParityReport(
            self.precision,
            self.outputs + other.outputs,
            self.tokens + other.tokens,
            self.reference_tokens + other.reference_tokens,
        )

    def check(self) -> None:
        """Accept or refuse.

        Raises:
          ExportError: if an error exceeds the limit, or the greedy tokens differ in fp32.
        """
        for output in self.outputs:
            # Written so that NaN, which no comparison is true of, is refused too.
            if not output.max_abs_error <= output.limit:
                raise ExportError(
                    f"the export does not agree with torch: {output.output} is off by "
                    f"{output.max_abs_error:.1e} in {output.observed}, "
                    f"and {self.precision} allows {output.limit:.1e}"
                )
        if self.precision == "fp32" and not self.tokens_equal:
            raise ExportError(
                f"greedy search finds other symbols than in torch: {list(self.tokens)} instead of "
                f"{list(self.reference_tokens)}"
            )

    def check_quantized(self) -> None:
        """Accept or refuse a model whose weights have just been quantized.

        How far its numbers may be off is for its user to judge, by the report and the error rate.

        Raises:
          ExportError: if it went mad or silent.
        """
        if not all(np.isfinite(output.max_abs_error) for output in self.outputs):
            raise ExportError(
                "the quantized model answers the golden recording with NaN or infinity"
            )
        if self.reference_tokens and not self.tokens:
            raise ExportError(
                "the quantized model finds nothing in the golden recording, where the source finds "
                f"{len(self.reference_tokens)} symbols",
                fix="keep more in fp16, or calibrate on more recordings",
            )

    def to_json(self) -> dict[str, Any]:
        """All attributes and conclusions, for ``bundle.json``."""
        return asdict(self) | {
            "max_abs_error": self.max_abs_error,
            "tokens_equal": self.tokens_equal,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ParityReport:
        """Inverse of `to_json`."""
        return cls(
            precision=values["precision"],
            outputs=tuple(OutputParity(**output) for output in values["outputs"]),
            tokens=tuple(values["tokens"]),
            reference_tokens=tuple(values["reference_tokens"]),
        )


def observe(
    session: StreamingSession, features: Float32Array, geometry: StreamingGeometry
) -> Observation:
    """Run a session over features, step by step.

    Args:
      session: The networks.
      features: (T, C); repeated until there are at least `MIN_CHUNKS` chunks, and cut where they
        fill no whole segment.
      geometry: How to step.
    """
    needed = MIN_CHUNKS * geometry.shift + geometry.overlap
    repeated = np.tile(features, (-(-needed // len(features)), 1))
    encoder_out, states, chunks = _encode(session, repeated, geometry)
    tokens = _greedy_tokens(session, [encoder_out], session.initial_symbol)
    outputs = {
        "encoder_out": encoder_out,
        **{name: np.asarray(state).reshape(-1) for name, state in states.items()},
        **_decoder_and_joiner(session, encoder_out, session.initial_symbol),
    }
    return Observation(geometry.chunk_ms, chunks, outputs, tokens)


def observe_offline(session: OfflineSession, features: Float32Array) -> Observation:
    """Run a session over whole utterances of several lengths, the shorter ones padded.

    Args:
      session: The networks.
      features: (T, C), the longest utterance; the others begin later in it.
    """
    view = WholeUtterances(session)
    starts = range(0, len(features), -(-len(features) // _UTTERANCES))
    utterances = view.encode([features[start:] for start in starts])
    tokens = _greedy_tokens(session, utterances, view.initial_symbol)
    encoder_out = np.concatenate(utterances)
    outputs = {
        "encoder_out": encoder_out,
        **_decoder_and_joiner(session, encoder_out, view.initial_symbol),
    }
    return Observation(None, len(utterances), outputs, tokens)


def compare(reference: Observation, candidate: Observation, *, precision: str) -> ParityReport:
    """Compare two observations of the same features, made in the same way.

    States are compared where both sessions know them by the same name and size.

    Raises:
      ExportError: if an output of the candidate has another size than the reference's.
    """
    outputs = []
    for name, expected in reference.outputs.items():
        actual = candidate.outputs.get(name)
        if actual is None:
            continue
        if actual.size != expected.size:
            raise ExportError(
                f"{name} has the shape {actual.shape} instead of {expected.shape}",
                fix="the network was exported with other sizes than the model has",
            )
        error = float(np.abs(actual.reshape(-1) - expected.reshape(-1)).max())
        peak = float(np.abs(expected).max())
        limit = _limit(name, precision, peak)
        outputs.append(OutputParity(reference.chunk_ms, reference.chunks, name, error, limit, peak))
    return ParityReport(precision, tuple(outputs), candidate.tokens, reference.tokens)


def _limit(output: str, precision: str, peak: float) -> float:
    """What a search reads in fp32 is held to an absolute error; the rest grows with the values.

    The cells of an LSTM add up over chunks without bound: on some processors, rounding in float32
    alone moves one of 55 by 1.3e-4.
    """
    absolute = precision == "fp32" and output in _READ_BY_SEARCHES
    limit = LIMITS.get(precision, LIMITS["int8"])
    return limit * (1.0 if absolute else max(1.0, peak))


def _encode(
    session: StreamingSession, features: Float32Array, geometry: StreamingGeometry
) -> tuple[Float32Array, States, int]:
    states = session.init_states()
    chunks = []
    for start in range(0, len(features) - geometry.segment + 1, geometry.shift):
        segment = np.ascontiguousarray(features[None, start : start + geometry.segment])
        encoder_out, states = session.encode_chunk(segment, states)
        chunks.append(encoder_out[0])
    return np.concatenate(chunks), states, len(chunks)


def _decoder_and_joiner(
    session: Session, encoder_out: Float32Array, initial_symbol: int
) -> dict[str, Float32Array]:
    """Some decoder outputs, each joined with a frame of encoder_out (frames, D)."""
    decoder_out = session.decode_context(_contexts(session, initial_symbol))
    frames = np.linspace(0, len(encoder_out) - 1, num=len(decoder_out)).round().astype(np.intp)
    logits = session.join(np.ascontiguousarray(encoder_out[frames]), decoder_out)
    return {"decoder_out": decoder_out, "logits": logits}


def _contexts(session: Session, initial_symbol: int) -> NDArray[np.int64]:
    """A fixed choice of decoder contexts, the starting one among them."""
    numbers = np.arange(_CONTEXTS * session.context_size) * 7919 % session.vocab_size
    contexts = numbers.reshape(_CONTEXTS, session.context_size).astype(np.int64)
    contexts[0] = initial_symbol
    contexts[0, -1] = session.blank_id
    return contexts


def _greedy_tokens(
    session: Session, encoder_out: Sequence[Float32Array], initial_symbol: int
) -> tuple[int, ...]:
    """The best symbol of each frame that is no blank, one stream after another.

    Golden tokens must not depend on which decoding methods are installed.

    Raises:
      DataError: if the best logit of a frame is NaN or infinite.
    """
    return tuple(
        symbol
        for frames in encoder_out
        for symbol in _greedy_symbols(session, frames, initial_symbol)
    )


def _greedy_symbols(
    session: Session, encoder_out: Float32Array, initial_symbol: int
) -> Iterator[int]:
    context = [initial_symbol] * (session.context_size - 1) + [session.blank_id]
    decoder_out = session.decode_context(np.array([context], np.int64))
    for number, frame in enumerate(encoder_out):
        (logits,) = session.join(np.ascontiguousarray(frame[np.newaxis]), decoder_out)
        symbol = int(logits.argmax())  # the first NaN, if there is one
        if not np.isfinite(logits[symbol]):
            raise DataError(
                "the networks answer with NaN or infinity", where=f"encoder frame {number}"
            )
        if symbol != session.blank_id:
            yield symbol
            context = [*context[1:], symbol]
            decoder_out = session.decode_context(np.array([context], np.int64))
