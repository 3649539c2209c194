"""Outputs of a session, collected for the comparison of two sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calve.data.geometry import StreamingGeometry
from calve.errors import DataError
from calve.protocols import Session, States, StreamingSession
from calve.protocols.sessions import WHOLE_UTTERANCES

__all__ = ["MIN_CHUNKS", "Observation", "decoder_and_joiner", "greedy_tokens", "observe"]

Float32Array = NDArray[np.float32]

MIN_CHUNKS = 20
"""Least number of chained chunks; fewer would not show errors that accumulate in the states."""

_CONTEXTS = 32


@dataclass(frozen=True)
class Observation:
    """Outputs of a session.

    Attributes:
      chunk_ms: Milliseconds per chunk; None if whole utterances were encoded.
      chunks: Chained chunks, or whole utterances, that were encoded.
      outputs: Arrays by name: "encoder_out" (frames, D), the final states by the session's names
        (flattened), "decoder_out" (K, D') and "logits" (K, vocab_size).
      tokens: Symbols of greedy search over all frames.
    """

    chunk_ms: int | None
    chunks: int
    outputs: dict[str, Float32Array]
    tokens: tuple[int, ...]

    @property
    def unit(self) -> str:
        """The unit of ``chunks``, in words."""
        return WHOLE_UTTERANCES if self.chunk_ms is None else "chained chunks"


def observe(
    session: StreamingSession, features: Float32Array, geometry: StreamingGeometry
) -> Observation:
    """Run a session over features, step by step.

    Args:
      session: The networks.
      features: (T, C); repeated until there are at least `MIN_CHUNKS` chunks, and cut where they
        fill no whole segment.
      geometry: Steps of the encoder.
    """
    needed = MIN_CHUNKS * geometry.shift + geometry.overlap
    repeated = np.tile(features, (-(-needed // len(features)), 1))
    encoder_out, states, chunks = _encode(session, repeated, geometry)
    tokens = greedy_tokens(session, [encoder_out], session.initial_symbol)
    outputs = {
        "encoder_out": encoder_out,
        **{name: np.asarray(state).reshape(-1) for name, state in states.items()},
        **decoder_and_joiner(session, encoder_out, session.initial_symbol),
    }
    return Observation(geometry.chunk_ms, chunks, outputs, tokens)


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


def decoder_and_joiner(
    session: Session, encoder_out: Float32Array, initial_symbol: int
) -> dict[str, Float32Array]:
    """Compute some decoder outputs and join each with a frame of encoder_out (frames, D)."""
    decoder_out = session.decode_context(_contexts(session, initial_symbol))
    frames = np.linspace(0, len(encoder_out) - 1, num=len(decoder_out)).round().astype(np.intp)
    logits = session.join(np.ascontiguousarray(encoder_out[frames]), decoder_out)
    return {"decoder_out": decoder_out, "logits": logits}


def _contexts(session: Session, initial_symbol: int) -> NDArray[np.int64]:
    """Return a fixed choice of decoder contexts, including the initial one."""
    numbers = np.arange(_CONTEXTS * session.context_size) * 7919 % session.vocab_size
    contexts = numbers.reshape(_CONTEXTS, session.context_size).astype(np.int64)
    contexts[0] = initial_symbol
    contexts[0, -1] = session.blank_id
    return contexts


def greedy_tokens(
    session: Session, encoder_out: Sequence[Float32Array], initial_symbol: int
) -> tuple[int, ...]:
    """Return the best symbol of each frame without blanks, stream by stream.

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
                "the outputs of the networks are NaN or infinite", where=f"encoder frame {number}"
            )
        if symbol != session.blank_id:
            yield symbol
            context = [*context[1:], symbol]
            decoder_out = session.decode_context(np.array([context], np.int64))
