"""The samples of cuts, with a look at what lhotse believes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from lhotse import Recording
from lhotse.cut import Cut

from calve.api import AudioError
from calve.data.audio import Float32Array
from calve.data.audio_survey import check_samples

__all__ = ["check_rate", "load_samples"]


def load_samples(cut: Cut) -> Float32Array:
    """The samples of a cut with one channel, (1, n) float32, full scale is [-1, 1].

    Raises:
      AudioError: if they hold NaN or are far beyond full scale, or the file has another sampling
        rate than its manifest says.
      Exception: of lhotse or an audio library, if the audio cannot be read.
    """
    check_rate(cut)
    samples = np.asarray(cut.load_audio(), dtype=np.float32)
    check_samples(samples)
    return samples


def check_rate(cut: Cut) -> None:
    """Refuse a file of another sampling rate than its manifest says, of which lhotse says nothing.

    A recording that is resampled on the way states the rate afterwards, so it is not looked at.
    Neither are the parts of a mixture.

    Raises:
      AudioError: naming the file.
    """
    recording: Recording | None = getattr(cut, "recording", None)
    if recording is None or any(
        _is_resampling(transform) for transform in recording.transforms or ()
    ):
        return
    for source in recording.sources:
        rate = _stored_rate(source.source) if source.type == "file" else None
        if rate is not None and rate != recording.sampling_rate:
            raise AudioError(
                f"the file has {rate} samples a second, its manifest says "
                f"{recording.sampling_rate}",
                where=source.source,
                fix="list the recording anew",
            )


def _is_resampling(transform: object) -> bool:
    name = transform.get("name") if isinstance(transform, dict) else type(transform).__name__
    return name == "Resample"


def _stored_rate(path: str) -> int | None:
    """None for what libsndfile does not read, which lhotse may read with another library."""
    try:
        if not Path(path).is_file():
            return None
        return int(soundfile.info(path).samplerate)
    except (OSError, soundfile.SoundFileError, TypeError):
        return None
