"""Accuracy and speed of a bundle on recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from calve.bundles.bundle import Bundle
from calve.common.parallel import ordered_map
from calve.common.progress import NO_PROGRESS, Progress, tracked
from calve.data.audio import AudioReader
from calve.data.audio_survey import SILENCE
from calve.data.recordings import Recording
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.decoding.transcript import Recognition, Transcript
from calve.errors import AudioError, DataError

__all__ = ["SILENCE", "Evaluation", "evaluate", "is_silent"]


@dataclass(frozen=True)
class Evaluation:
    """The results of one bundle on some recordings.

    Attributes:
      texts: The recognized words of each usable recording, by path.
      tokens: The same as symbols, separated by spaces.
      skipped: The reason why a recording is not usable, by path.
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

    Recordings that cannot be read or hold only silence are skipped, with the reason. If the outputs
    of the networks are NaN, the result is empty and counts as errors.
    """
    work = partial(_transcribe, bundle_dir, chunk_ms)
    paths = [recording.path for recording in recordings]
    transcripts: dict[Path, Transcript] = {}
    skipped: dict[Path, str] = {}
    try:
        with tracked(progress, title, len(paths)):
            for path, outcome in zip(paths, ordered_map(work, paths, jobs=jobs), strict=True):
                progress.advance()
                if isinstance(outcome, str):
                    skipped[path] = outcome
                else:
                    transcripts[path] = outcome
    finally:
        # Also after an error: a bundle exported again to the same path has other networks.
        _recognizer.cache_clear()
    seconds = sum(one.rtf * one.duration for one in transcripts.values())
    duration = sum(one.duration for one in transcripts.values())
    return Evaluation(
        texts={path: one.text for path, one in transcripts.items()},
        tokens={path: " ".join(one.tokens) for path, one in transcripts.items()},
        skipped=skipped,
        rtf=seconds / duration if duration else 0.0,
    )


def is_silent(path: Path, sample_rate: int) -> bool:
    """Whether nothing in a recording is louder than `SILENCE`.

    Raises:
      AudioError: if it cannot be read.
    """
    with AudioReader(path, sample_rate) as audio:
        return audio.is_silent


def _transcribe(bundle_dir: Path, chunk_ms: int | None, path: Path) -> Transcript | str:
    """Transcribe a recording; return the reason if it is not usable."""
    recognizer = _recognizer(bundle_dir, chunk_ms)
    try:
        if is_silent(path, recognizer.features.sample_rate):
            return "it holds only silence"
        return recognizer.transcribe(path)
    except AudioError as error:
        return error.what
    except DataError:
        # The outputs are NaN. A failed recording does not count for the speed.
        return Transcript.of(Recognition("", (), (), ()), str(path), duration=0.0, seconds=0.0)


@lru_cache(maxsize=1)
def _recognizer(bundle_dir: Path, chunk_ms: int | None) -> OnlineRecognizer:
    """Load one model per process."""
    return OnlineRecognizer.from_bundle(Bundle.open(bundle_dir), chunk_ms=chunk_ms)
