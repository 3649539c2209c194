"""Small sessions in numpy, for tests of decoding methods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calve.data.geometry import StreamingGeometry

__all__ = ["RandomSession", "SpellingSession"]

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]


class _SymbolSession:
    """What both have in common: a `calve.protocols.Session` without an encoder."""

    geometry = StreamingGeometry(shift=4, overlap=5, subsampling_factor=4)
    feature_dim = 80
    blank_id = 0
    initial_symbol = 0
    context_size = 2
    vocab_size = 11


class RandomSession(_SymbolSession):
    """Networks with fixed random weights, whose symbols depend on frame and context."""

    dim = 6

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        shapes = ((self.context_size, self.vocab_size + 1, self.dim), (self.dim, self.vocab_size))
        self._embedding, self._output = (
            generator.standard_normal(shape).astype(np.float32) for shape in shapes
        )

    def frames(self, count: int, seed: int) -> Float32Array:
        """(count, D) encoder frames, the same for the same seed."""
        generator = np.random.default_rng(seed)
        return generator.standard_normal((count, self.dim)).astype(np.float32)

    def decode_context(self, contexts: Int64Array) -> Float32Array:
        rows = [self._embedding[place][contexts[:, place]] for place in range(self.context_size)]
        decoder_out: Float32Array = np.sum(rows, axis=0)
        return decoder_out

    def join(self, encoder_out: Float32Array, decoder_out: Float32Array) -> Float32Array:
        # A matrix product rounds a row differently among other rows; a method that draws paths
        # would then answer differently through no fault of its own.
        hidden = 2 * np.tanh(encoder_out + decoder_out)
        logits: Float32Array = (hidden[:, :, None] * self._output).sum(axis=1)
        return logits


class SpellingSession(_SymbolSession):
    """Each frame has one unambiguous symbol; once it is emitted, the frame gives the blank."""

    _CERTAIN = np.float32(20.0)

    def frames(self, symbols: Sequence[int]) -> Float32Array:
        """(len(symbols), vocab_size) encoder frames, one for each symbol or blank."""
        frames = np.full((len(symbols), self.vocab_size), -self._CERTAIN, np.float32)
        frames[:, self.blank_id] = 0.0
        for row, symbol in zip(frames, symbols, strict=True):
            row[symbol] = self._CERTAIN
        return frames

    def decode_context(self, contexts: Int64Array) -> Float32Array:
        decoder_out = np.zeros((len(contexts), self.vocab_size), np.float32)
        decoder_out[np.arange(len(contexts)), contexts[:, -1]] = 3 * self._CERTAIN
        decoder_out[:, self.blank_id] = 0.0
        return decoder_out

    def join(self, encoder_out: Float32Array, decoder_out: Float32Array) -> Float32Array:
        return encoder_out - decoder_out
