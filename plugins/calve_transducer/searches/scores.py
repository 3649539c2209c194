"""Conversion of logits to log probabilities, and selection of the best."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_log", "log_probabilities", "take_best"]

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]

_FEW = 8
"""Up to so many maxima are found faster one after another than by partitioning."""


def log_probabilities(
    logits: Float32Array, *, blank_id: int, blank_penalty: float = 0.0, temperature: float = 1.0
) -> Float32Array:
    """Compute log probabilities of the symbols in place.

    Args:
      logits: (N, vocab_size); overwritten.
      blank_penalty: Subtracted from the blank's logits.
      temperature: Divides the logits: above 1, the distribution becomes flatter.
    """
    if blank_penalty:
        logits[:, blank_id] -= blank_penalty
    if temperature != 1.0:
        logits /= temperature
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


def take_best(scores: Float32Array, count: int) -> tuple[Float32Array, Int64Array]:
    """Return the highest scores of each row in descending order, and their indices.

    Args:
      scores: (N, M); overwritten.
      count: Number of scores; at most M.

    Returns:
      Two arrays (N, count). NaN counts as the highest.
    """
    rows = np.arange(len(scores))[:, np.newaxis]
    if count > _FEW:
        places = np.argpartition(scores, -count, axis=1)[:, -count:]
        order = np.argsort(-scores[rows, places], axis=1, kind="stable")
        places = places[rows, order]
        return scores[rows, places], places
    places = np.empty((len(scores), count), dtype=np.int64)
    values = np.empty((len(scores), count), dtype=scores.dtype)
    for column in range(count):
        place = scores.argmax(axis=1)[:, np.newaxis]
        places[:, column] = place[:, 0]
        values[:, column] = scores[rows, place][:, 0]
        scores[rows, place] = -np.inf
    return values, places


def add_log(one: float, other: float) -> float:
    """log(exp(one) + exp(other))"""
    return max(one, other) + math.log1p(math.exp(-abs(one - other)))
