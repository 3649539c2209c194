"""How well a bundle recognizes recordings, and how fast."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from calve.bundles.bundle import Bundle
from calve.common.parallel import ordered_map
from calve.common.progress import NO_PROGRESS, Progress, tracked
from calve.data.audio import read_audio
from calve.data.recordings import Recording
from calve.decoding.transcription import OnlineRecognizer, Recognition, Transcript
from calve.errors import AudioError, DataError

__all__ = ["SILENCE", "Evaluation", "evaluate"]

SILENCE = 1e-4
"""A recording whose peak is below this (-80 dB of full scale) holds nothing to recognize."""


@dataclass(frozen=True)
class Evaluation:
    """What one bundle made of some recordings.

    Attributes:
      texts: The words found in each recording that could be used, by path.
      tokens: The same as symbols, separated by spaces.
      skipped: Why a recording could not be used, by path.
      rtf: Seconds of decoding per second of audio, over all recordings.
    """

    texts: dict[Path, str]
    tokens: dict[Path, str]
    skipped: dict[Path, str]
    rtf: float


def evaluate(
    bundle_dir: Path,
    recordings: Sequence[Recording],
    *,
    chunk_ms: int | None = None,
    jobs: int = 1,
    title: str = "recognize",
    progress: Progress = NO_PROGRESS,
) -> Evaluation:
    """Transcribe recordings with a bundle, each process with one thread.

    Recordings that cannot be read or hold only silence are skipped, with the reason. Networks that
    answer with NaN have found nothing, which counts against them.
    """
    with tracked(progress, title, len(recordings)):
        texts: dict[Path, str] = {}
        tokens: dict[Path, str] = {}
        skipped: dict[Path, str] = {}
        seconds = duration = 0.0
        work = partial(_transcribe, bundle_dir, chunk_ms)
        paths = [recording.path for recording in recordings]
        for path, outcome in zip(paths, ordered_map(work, paths, jobs=jobs), strict=True):
            progress.advance()
            if isinstance(outcome, str):
                skipped[path] = outcome
                continue
            texts[path] = outcome.text
            tokens[path] = " ".join(outcome.tokens)
            seconds += outcome.rtf * outcome.duration
            duration += outcome.duration
    _recognizer.cache_clear()
    return Evaluation(texts, tokens, skipped, seconds / duration if duration else 0.0)


def _transcribe(bundle_dir: Path, chunk_ms: int | None, path: Path) -> Any:
    """A `calve.decoding.transcription.Transcript`, or why there is none."""
    recognizer = _recognizer(bundle_dir, chunk_ms)
    try:
        audio = read_audio(path, recognizer.features.sample_rate)
    except AudioError as error:
        return error.what
    if np.abs(audio.samples).max() < SILENCE:
        return "it holds only silence"
    started = time.perf_counter()
    try:
        return recognizer.transcribe_audio(audio, str(path))
    except DataError:
        nothing = Recognition("", (), (), ())
        return Transcript.of(nothing, audio, str(path), time.perf_counter() - started)


@lru_cache(maxsize=1)
def _recognizer(bundle_dir: Path, chunk_ms: int | None) -> OnlineRecognizer:
    """One loaded model per process."""
    return OnlineRecognizer.from_bundle(Bundle.open(bundle_dir), chunk_ms=chunk_ms)
