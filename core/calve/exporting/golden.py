"""Creation of golden data: the recording and the outputs of sessions for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.bundles.golden import FULL_SCALE, Golden
from calve.bundles.observation import Observation, decoder_and_joiner, greedy_tokens, observe
from calve.common.paths import visible_files
from calve.data.audio import read_audio
from calve.data.geometry import StreamingGeometry
from calve.decoding.encoder_views import WholeUtterances
from calve.protocols import OfflineSession
from calve.registry.specs import RecipeSpec

__all__ = ["golden_pcm", "observe_again", "observe_offline"]

Float32Array = NDArray[np.float32]

_SECONDS = 3.0

_UTTERANCES = 4
"""Number of whole utterances, of different lengths, in one batch."""


def observe_again(golden: Golden, session: Any, geometry: StreamingGeometry) -> Observation:
    """Observe a session in the same way as the golden one was observed.

    Args:
      golden: The golden data.
      session: A `calve.protocols.StreamingSession` or, if whole utterances were observed, an
        `OfflineSession`.
      geometry: Steps of the encoder; only the chunk length may differ from the golden observation.
    """
    chunk_ms = golden.observation.chunk_ms
    if chunk_ms is None:
        return observe_offline(session, golden.features)
    return observe(session, golden.features, geometry.with_chunk_ms(chunk_ms))


def observe_offline(session: OfflineSession, features: Float32Array) -> Observation:
    """Run a session over whole utterances of several lengths, the shorter ones padded.

    Args:
      session: The networks.
      features: (T, C), the longest utterance; the others begin later in it.
    """
    view = WholeUtterances(session)
    starts = range(0, len(features), -(-len(features) // _UTTERANCES))
    utterances = view.encode([features[start:] for start in starts])
    tokens = greedy_tokens(session, utterances, view.initial_symbol)
    encoder_out = np.concatenate(utterances)
    outputs = {
        "encoder_out": encoder_out,
        **decoder_and_joiner(session, encoder_out, view.initial_symbol),
    }
    return Observation(None, len(utterances), outputs, tokens)


def golden_pcm(recipe: RecipeSpec, sample_rate: int) -> NDArray[np.int16]:
    """Return at most three seconds of audio for checks of a model of this recipe, (n,) int16.

    It is the recipe's demo recording or, if there is none, a synthetic vowel-like sound whose
    features resemble those of speech. Its length is a multiple of a tenth of a second, because
    clients differ in whether a segment may end with the last frame.
    """
    longest = round(_SECONDS * sample_rate)
    samples = _demo_recording(recipe, sample_rate)
    if samples is None:
        samples = _vowels(longest, sample_rate)
    tenth = sample_rate // 10
    count = min(len(samples), longest) // tenth * tenth
    scaled = (samples[:count] * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1)
    return np.asarray(scaled, dtype=np.int16)


def _demo_recording(recipe: RecipeSpec, sample_rate: int) -> Float32Array | None:
    for pretrained in recipe.pretrained:
        if pretrained.recordings is None:
            continue
        with pretrained.recordings.as_file() as folder:
            for path in sorted(visible_files(folder, "*.wav")):
                return read_audio(path, sample_rate).samples
    return None


def _vowels(count: int, sample_rate: int) -> Float32Array:
    """Harmonics of a gliding pitch under moving formants, with pauses and faint noise."""
    seconds = np.arange(count) / sample_rate
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    formants = (
        500 + 250 * np.sin(2 * np.pi * 1.3 * seconds),
        1500 + 600 * np.sin(2 * np.pi * 0.9 * seconds),
    )
    sound = np.zeros(count)
    for harmonic in range(1, 25):
        frequency = harmonic * pitch
        gain = sum(np.exp(-(((frequency - formant) / 150) ** 2)) for formant in formants)
        sound += gain * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 1.6 * seconds) + 0.4, 0, 1)
    noise = np.random.default_rng(0).normal(scale=0.003, size=count)
    return np.asarray(0.1 * sound * syllables + noise, dtype=np.float32)
