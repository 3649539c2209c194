"""Recordings as mono float32 samples at the rate a model wants."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from calve.errors import AudioError

__all__ = ["Audio", "read_audio"]

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class Audio:
    """One recording, ready for feature extraction.

    Attributes:
      samples: (n,) float32, mono, full scale is [-1, 1].
      sample_rate: Samples per second of `samples`.
      duration: Seconds of the recording as it was stored.
      notes: What was changed on the way in (resampling, mixing down), for the user to see.
    """

    samples: Float32Array
    sample_rate: int
    duration: float
    notes: tuple[str, ...] = ()


def read_audio(path: str | PathLike[str], sample_rate: int = 16000) -> Audio:
    """Read any file that libsndfile reads (WAV, FLAC, OGG, MP3, ...).

    Channels are averaged and other sampling rates are converted; both leave a note.

    Args:
      path: The recording.
      sample_rate: Samples per second wanted.

    Raises:
      AudioError: if the file is missing, cannot be decoded, or holds no usable samples.
    """
    path = Path(path)
    channels, stored_rate = _decode(path)
    if channels.shape[0] == 0:
        raise AudioError("the recording holds no samples", where=path)
    if not np.isfinite(channels).all():
        raise AudioError(
            "the recording holds NaN or infinite samples",
            where=path,
            fix="convert it again from its source",
        )
    notes = []
    samples = channels[:, 0]
    if channels.shape[1] > 1:
        samples = channels.mean(axis=1)
        notes.append(f"averaged {channels.shape[1]} channels")
    if stored_rate != sample_rate:
        samples = soxr.resample(samples, stored_rate, sample_rate)
        notes.append(f"resampled from {stored_rate} Hz to {sample_rate} Hz")
    if not len(samples):
        raise AudioError(
            f"the recording lasts less than one sample at {sample_rate} Hz", where=path
        )
    return Audio(
        samples=np.ascontiguousarray(samples, dtype=np.float32),
        sample_rate=sample_rate,
        duration=channels.shape[0] / stored_rate,
        notes=tuple(notes),
    )


def _decode(path: Path) -> tuple[Float32Array, int]:
    """The file's samples (n, channels) float32 and their rate."""
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise AudioError(f"the recording {what}", where=path)
    try:
        # Opened here, because libsndfile reports a missing permission as an unknown format.
        with path.open("rb") as file:
            channels, stored_rate = soundfile.read(file, dtype="float32", always_2d=True)
            return channels, stored_rate
    except OSError as error:
        raise AudioError(f"cannot read the recording: {error.strerror}", where=path) from error
    except (soundfile.SoundFileError, TypeError) as error:
        # A name ending in .raw makes soundfile ask for parameters with a TypeError.
        reason = getattr(error, "error_string", error)
        raise AudioError(
            f"cannot decode the recording: {reason}",
            where=path,
            fix="give a WAV, FLAC, OGG or MP3 file; others convert with `ffmpeg -i IN OUT.wav`",
        ) from error
