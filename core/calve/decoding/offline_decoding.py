"""Decoding of whole utterances, offline or with simulated streaming."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.common.progress import NO_PROGRESS, Progress
from calve.data.features import FeatureConfig
from calve.data.tokens import SymbolTable
from calve.data.utterances import Utterance, batches_by_duration, load_each
from calve.decoding.decoded import Decoded
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.encoder_views import SimulatedStreaming, WholeUtterances
from calve.errors import CalveError, DataError
from calve.protocols import Hypothesis, OfflineSession, Search

__all__ = ["MAX_DURATION", "decode_offline", "search_each"]

Float32Array = NDArray[np.float32]

MAX_DURATION = 600.0
"""Seconds in a batch, icefall's value."""


def decode_offline(
    session: OfflineSession,
    symbols: SymbolTable,
    utterances: Iterable[Utterance],
    methods: Sequence[DecodingMethod],
    *,
    features: FeatureConfig | None = None,
    simulate_streaming: bool = False,
    tail_padding_frames: int | None = None,
    max_duration: float = MAX_DURATION,
    progress: Progress = NO_PROGRESS,
) -> dict[str, Decoded]:
    """Decode whole utterances; each is encoded once for all methods.

    This follows icefall's ``decode.py``: a recurrent encoder gets `FLUSH_FRAMES` padding frames
    after each utterance, and the search starts as in training. Simulated streaming equals
    `calve.decoding.online_decoding` in one step: it has the same silence after each utterance, the
    same chunks and the same start of the search. An utterance that cannot be read or decoded does
    not stop the others.

    Args:
      session: The networks.
      symbols: Their symbol table.
      utterances: In any order.
      methods: Decoding methods.
      features: The features that the model was trained on; by default sherpa-ncnn's, with the
        session's dimension.
      simulate_streaming: Whether attention is masked to the chunks of ``session.geometry``.
      tail_padding_frames: Silent frames after each utterance in simulated streaming; derived from
        the geometry by default.
      max_duration: Seconds in a batch, including padding.
      progress: Advanced by one for each utterance.

    Returns:
      The results by the method's key.

    Raises:
      ConfigError, PluginError: if a method cannot be used.
    """
    view = (
        SimulatedStreaming(session, features, tail_padding_frames)
        if simulate_streaming
        else WholeUtterances(session, features)
    )
    searches = [method.search(session, symbols, view.initial_symbol) for method in methods]
    results = [Decoded() for _ in methods]
    for batch in batches_by_duration(utterances, max_duration):
        loaded, failures = load_each(batch, view.features)
        encoder_out = view.encode([matrix for _, matrix in loaded]) if loaded else []
        for method, search, decoded in zip(methods, searches, results, strict=True):
            told = [
                {"ref_text": utterance.text} if method.needs_reference else {}
                for utterance, _ in loaded
            ]
            outcomes = search_each(search, encoder_out, told)
            decoded.failures.extend(failures)
            for (utterance, _), outcome in zip(loaded, outcomes, strict=True):
                decoded.add(utterance, outcome, symbols, session.geometry)
        progress.advance(len(batch))
    return {method.key: decoded for method, decoded in zip(methods, results, strict=True)}


def search_each(
    search: Search, encoder_out: Sequence[Float32Array], told: Sequence[Mapping[str, Any]]
) -> list[Hypothesis | CalveError]:
    """Search a batch; if the search fails on the batch, search each utterance alone.

    Args:
      search: The decoding method.
      encoder_out: (T', D) of each utterance.
      told: The stream options of each.
    """
    if not encoder_out:
        return []
    streams = [search.start(**of_utterance) for of_utterance in told]
    try:
        search.advance(streams, encoder_out)
        found = [search.result(stream) for stream in streams]
        if not all(math.isfinite(one.score) for one in found):
            raise DataError("the score is NaN or infinite")
    except CalveError as error:
        if len(encoder_out) == 1:
            return [error]
        each = zip(encoder_out, told, strict=True)
        return [outcome for one, its in each for outcome in search_each(search, [one], [its])]
    return list(found)
