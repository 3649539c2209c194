"""Recordings as mono float32 samples at the rate that a model expects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from calve.common.inputs import check_not_placeholder
from calve.errors import AudioError

__all__ = ["Audio", "AudioReader", "read_audio"]

Float32Array = NDArray[np.float32]

_BLOCK_VALUES = 1 << 16
"""Most stored values, of all channels together, that are read at once."""


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


class AudioReader:
    """Reads any file that libsndfile reads (WAV, FLAC, OGG, MP3, ...), block by block.

    The memory that it needs does not depend on the length of the recording. Channels are averaged
    and other sampling rates are converted; both leave a note. The blocks, one after another, are
    the samples of `read_audio`. Use it as a context manager, and iterate over it once.

    Args:
      path: The recording.
      sample_rate: Samples per second wanted.

    Attributes:
      sample_rate: Samples per second of the blocks.
      notes: What is changed on the way in, for the user to see.

    Raises:
      AudioError: if the file is missing or cannot be decoded.
    """

    def __init__(self, path: str | PathLike[str], sample_rate: int = 16000) -> None:
        self.sample_rate = sample_rate
        self._path = Path(path)
        self._resources = ExitStack()
        self._file = self._resources.enter_context(_open(self._path))
        self._stored_rate: int = self._file.samplerate
        self._frames_read = 0
        self.notes = tuple(self._changes())

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._resources.close()

    @property
    def duration(self) -> float:
        """Seconds of the recording that have been read so far, as it was stored."""
        return self._frames_read / self._stored_rate

    def __iter__(self) -> Iterator[Float32Array]:
        """Blocks (n,) float32, mono, full scale is [-1, 1]; about a second each.

        Raises:
          AudioError: if the file cannot be decoded, or holds no usable samples.
        """
        samples = 0
        for block in self._resampled():
            if len(block):
                samples += len(block)
                yield block
        if not samples:
            what = (
                f"lasts less than one sample at {self.sample_rate} Hz"
                if self._frames_read
                else "holds no samples"
            )
            raise AudioError(f"the recording {what}", where=self._path)

    def _changes(self) -> Iterator[str]:
        if self._file.channels > 1:
            yield f"averaged {self._file.channels} channels"
        if self._stored_rate != self.sample_rate:
            yield f"resampled from {self._stored_rate} Hz to {self.sample_rate} Hz"

    def _resampled(self) -> Iterator[Float32Array]:
        if self._stored_rate == self.sample_rate:
            yield from self._stored()
            return
        resampler = soxr.ResampleStream(self._stored_rate, self.sample_rate, 1, dtype="float32")
        for block in self._stored():
            yield resampler.resample_chunk(block)
        yield resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True)

    def _stored(self) -> Iterator[Float32Array]:
        """Blocks (n,) of the channels' mean, at the stored rate."""
        # Of a second or less, so that a sampling rate of 1 Hz does not become a giant block.
        frames = max(1, min(self._stored_rate, _BLOCK_VALUES // self._file.channels))
        while True:
            with _decoding(self._path):
                channels = self._file.read(frames, dtype="float32", always_2d=True)
            if not len(channels):
                return
            if not np.isfinite(channels).all():
                raise AudioError(
                    "the recording holds NaN or infinite samples",
                    where=self._path,
                    fix="convert it again from its source",
                )
            self._frames_read += len(channels)
            yield channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)


def read_audio(path: str | PathLike[str], sample_rate: int = 16000) -> Audio:
    """Read a whole recording, as `AudioReader` reads it.

    Args:
      path: The recording.
      sample_rate: Samples per second wanted.

    Raises:
      AudioError: if the file is missing, cannot be decoded, or holds no usable samples.
    """
    with AudioReader(path, sample_rate) as reader:
        samples = np.concatenate(list(reader))
        return Audio(samples, sample_rate, reader.duration, reader.notes)


@contextmanager
def _open(path: Path) -> Iterator[soundfile.SoundFile]:
    check_not_placeholder(path, "recording", AudioError)
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise AudioError(f"the recording {what}", where=path)
    with ExitStack() as opened:
        with _decoding(path):
            # Opened here, because libsndfile reports a missing permission as an unknown format.
            file = opened.enter_context(path.open("rb"))
            decoder = opened.enter_context(_SequentialFile(file))
        yield decoder


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from its beginning to its end.

    soundfile seeks after every read, to where the decoder already is. In an MP3 the samples that
    follow are then zeros or wrong, because the decoder has lost what it knew of earlier frames.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Errors of libsndfile become errors that name the recording."""
    try:
        yield
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
