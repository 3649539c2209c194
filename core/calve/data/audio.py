"""Recordings as mono float32 samples at the rate that a model expects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from calve.data.audio_files import AudioFile, check_is_no_pipe, decoding, open_audio
from calve.data.audio_headers import ends_early
from calve.data.audio_survey import AudioSurvey
from calve.errors import AudioError

__all__ = ["Audio", "AudioReader", "audio_duration", "read_audio"]

Float32Array = NDArray[np.float32]

MOST_SECONDS_AT_ONCE = 8 * 3600
"""Seconds of the longest recording that `read_audio` holds in memory: 1.8 GB at 16 kHz."""

_BLOCK_VALUES = 1 << 16
"""Largest number of stored values, over all channels, that are read at once."""

_FLOAT_SUBTYPES = frozenset({"FLOAT", "DOUBLE"})

_UNKNOWN_LENGTH = 1 << 62
"""Number of frames that libsndfile reports for an unfinished FLAC."""

_NOTED_LOSS = 0.01
"""Share of a recording that is missed; decoders of MP3 estimate its length."""


@dataclass(frozen=True)
class Audio:
    """One recording, ready for feature extraction.

    Attributes:
      samples: (n,) float32, mono, full scale is [-1, 1].
      sample_rate: Samples per second of `samples`.
      duration: Seconds of the recording as it was stored.
      notes: Changes made while reading (resampling, mixing, repairs), for the user.
    """

    samples: Float32Array
    sample_rate: int
    duration: float
    notes: tuple[str, ...] = ()


class AudioReader:
    """Reads any file that libsndfile reads (WAV, FLAC, OGG, MP3, ...), block by block.

    The memory does not depend on the length of the recording. Opening scans the whole recording
    (`AudioSurvey`); blocks are read on demand. Channels are averaged, other sampling rates are
    converted, and wrong lengths in headers and samples of another scale are repaired; each change
    is noted. The concatenated blocks are the samples of `read_audio`. Use it as a context manager,
    and iterate over it once.

    Args:
      path: The recording: a file, a pipe, or ``-`` for the standard input.
      sample_rate: Samples per second wanted.

    Attributes:
      sample_rate: Samples per second of the blocks.
      stored_rate: Samples per second of the recording as it is stored.
      duration: Seconds of the recording as it is stored.
      is_silent: Whether it holds only silence.
      notes: Changes made while reading, for the user.

    Raises:
      AudioError: if the file is missing or cannot be decoded, or holds no usable samples.
    """

    def __init__(self, path: str | PathLike[str], sample_rate: int = 16000) -> None:
        self.sample_rate = sample_rate
        with ExitStack() as opened:
            self._audio = opened.enter_context(open_audio(path))
            survey, self.stored_rate, declared = _survey(self._audio)
            self.duration = survey.frames / self.stored_rate
            self.is_silent = survey.is_silent
            self._mixdown, notes = survey.result()
            self.notes = (*_notes_on_length(self._audio, declared, survey), *notes)
            if self.stored_rate != sample_rate:
                note = f"resampled from {self.stored_rate} Hz to {sample_rate} Hz"
                self.notes = (*self.notes, note)
            self._file = opened.enter_context(self._audio.decoder())
            self._resources = opened.pop_all()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._resources.close()

    def __iter__(self) -> Iterator[Float32Array]:
        """Blocks (n,) float32, mono, full scale is [-1, 1]; about a second each.

        Raises:
          AudioError: if the recording is shorter than a sample.
        """
        samples = 0
        for block in self._resampled():
            if len(block):
                samples += len(block)
                yield block
        if not samples:
            raise AudioError(
                f"the recording lasts less than one sample at {self.sample_rate} Hz",
                where=self._audio.where,
            )

    def _resampled(self) -> Iterator[Float32Array]:
        blocks = map(self._mixdown, _stored_blocks(self._file, self._audio.where))
        if self.stored_rate == self.sample_rate:
            yield from blocks
            return
        resampler = soxr.ResampleStream(self.stored_rate, self.sample_rate, 1, dtype="float32")
        for block in blocks:
            yield resampler.resample_chunk(block)
        yield resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True)


def read_audio(path: str | PathLike[str], sample_rate: int = 16000) -> Audio:
    """Read a whole recording, as `AudioReader` reads it.

    Args:
      path: The recording.
      sample_rate: Samples per second wanted.

    Raises:
      AudioError: if the file is missing, cannot be decoded, holds no usable samples, or lasts more
        than `MOST_SECONDS_AT_ONCE`.
    """
    with AudioReader(path, sample_rate) as reader:
        if reader.duration > MOST_SECONDS_AT_ONCE:
            raise AudioError(
                f"the recording lasts {reader.duration / 3600:.1f} hours; "
                f"{MOST_SECONDS_AT_ONCE // 3600} hours can be read at once",
                where=path,
                fix="cut it into pieces, or decode it as a stream",
            )
        samples = np.concatenate(list(reader))
        return Audio(samples, sample_rate, reader.duration, reader.notes)


def audio_duration(path: str | PathLike[str]) -> float:
    """Return the seconds of a recording that will be read again. The whole recording is read.

    Raises:
      AudioError: if it is missing, cannot be decoded, holds no usable samples, or is a pipe.
    """
    check_is_no_pipe(Path(path))
    with AudioReader(path) as reader:
        return reader.duration


def _survey(audio: AudioFile) -> tuple[AudioSurvey, int, int]:
    """Return a survey of the recording, its sampling rate, and its stated number of frames."""
    with audio.decoder() as file:
        survey = AudioSurvey(
            file.channels,
            file.samplerate,
            is_float=file.subtype in _FLOAT_SUBTYPES,
            where=audio.where,
        )
        for block in _stored_blocks(file, audio.where):
            survey.add(block)
        if not survey.frames:
            raise AudioError(
                f"the recording holds no samples that can be read; its file has {audio.size:,} "
                "bytes",
                where=audio.where,
                fix="if it is not empty, `ffmpeg -i IN OUT.wav` may repair it",
            )
        return survey, file.samplerate, file.frames


def _notes_on_length(audio: AudioFile, declared: int, survey: AudioSurvey) -> Iterator[str]:
    seconds_per_frame = 1 / survey.sample_rate
    duration = survey.frames * seconds_per_frame
    if audio.repair is not None:
        yield audio.repair.note(duration)
    elif survey.frames < (1 - _NOTED_LOSS) * declared < _UNKNOWN_LENGTH:
        yield ends_early(declared * seconds_per_frame, duration)


def _stored_blocks(file: soundfile.SoundFile, where: str) -> Iterator[Float32Array]:
    """Blocks (n, channels) float32, at the stored rate."""
    # At most one second, so that the blocks of a low sampling rate stay small.
    frames = max(1, min(file.samplerate, _BLOCK_VALUES // file.channels))
    while True:
        with decoding(where):
            channels = file.read(frames, dtype="float32", always_2d=True)
        if not len(channels):
            return
        yield channels
