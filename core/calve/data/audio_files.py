"""Opening of recordings: regular files, pipes and the standard input."""

from __future__ import annotations

import os
import select
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import soundfile

from calve.common.inputs import check_not_placeholder
from calve.data.audio_headers import LengthRepair, PatchedFile, repair_length
from calve.errors import AudioError, CalveError

__all__ = [
    "CHANNELS",
    "SAMPLE_RATES",
    "STDIN",
    "AudioFile",
    "check_is_no_pipe",
    "decoding",
    "open_audio",
]

STDIN = "-"
"""The path that stands for the standard input."""

SAMPLE_RATES = range(1_000, 768_001)
"""Plausible samples per second; other values come from damaged headers."""

CHANNELS = range(1, 65)
"""Channels that a recording may have."""

_MOST_PIPED_BYTES = 1 << 32
"""Largest number of bytes from a pipe; a WAV file cannot be larger."""

_SECONDS_FOR_A_WRITER = 10
"""Seconds to wait for a writer of a named pipe."""

_PIPED_BYTES_IN_MEMORY = 1 << 24
_PIPED_BLOCK = 1 << 18


@dataclass(frozen=True)
class AudioFile:
    """An open recording.

    Attributes:
      where: Its path, for messages.
      size: Bytes of the file.
      repair: Repair of its header, if necessary.
    """

    where: str
    size: int
    repair: LengthRepair | None
    _file: BinaryIO

    @contextmanager
    def decoder(self) -> Iterator[soundfile.SoundFile]:
        """A decoder at the beginning of the recording; the one before must be closed.

        Raises:
          AudioError: if the recording cannot be decoded, or its header holds impossible numbers.
        """
        with ExitStack() as opened:
            with decoding(self.where):
                file = PatchedFile(self._file, self.repair.patches if self.repair else {})
                file.seek(0)
                decoder = opened.enter_context(_SequentialFile(file))
            _check_range("sampling rate", decoder.samplerate, SAMPLE_RATES, " Hz", self.where)
            _check_range("number of channels", decoder.channels, CHANNELS, "", self.where)
            yield decoder
            with decoding(self.where):
                if file.failure is not None:
                    raise file.failure


@contextmanager
def open_audio(path: str | PathLike[str]) -> Iterator[AudioFile]:
    """Open a recording.

    Args:
      path: A file, a pipe, or `STDIN`. The content of a pipe is kept in memory, or in an unnamed
        temporary file if it is longer than 16 MiB, so that it can be read twice.

    Raises:
      AudioError: if there is no possible recording.
    """
    with ExitStack() as opened:
        if os.fspath(path) == STDIN:
            where = "the standard input"
            with decoding(where):
                file = opened.enter_context(_piped(_standard_input(), where))
        else:
            where = str(Path(path))
            file = opened.enter_context(_opened(Path(path)))
        with decoding(where):
            size = file.seek(0, os.SEEK_END)
            repair = repair_length(file)
        yield AudioFile(where, size, repair, file)


def check_is_no_pipe(path: Path, raised: type[CalveError] = AudioError) -> None:
    """Reject a pipe if the recording is read several times.

    Raises:
      CalveError: of the class ``raised``.
    """
    if _is_pipe(path):
        raise raised(
            "the recording is a pipe, which can be read only once",
            where=path,
            fix="copy what it gives to a file",
        )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    check_not_placeholder(path, "recording", AudioError)
    is_pipe = _is_pipe(path)
    if not is_pipe and not path.is_file():
        if not path.exists():
            raise AudioError("the recording does not exist", where=path)
        raise AudioError(
            "the recording is not a file", where=path, fix="name a file, or a pipe that gives one"
        )
    with ExitStack() as opened:
        with decoding(str(path)):
            # Opened here, because libsndfile reports a missing permission as an unknown format.
            if is_pipe:
                pipe = opened.enter_context(_named_pipe(path))
                file = opened.enter_context(_piped(pipe, str(path)))
            else:
                file = opened.enter_context(path.open("rb"))
        yield file


def _is_pipe(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


@contextmanager
def _named_pipe(path: Path) -> Iterator[BinaryIO]:
    """Open a named pipe with a writer. The ordinary way of opening may block forever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as pipe:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not poll.poll(1000 * _SECONDS_FOR_A_WRITER):
            if not _has_writer(descriptor):
                raise AudioError(
                    f"nobody wrote to this pipe for {_SECONDS_FOR_A_WRITER} s", where=path
                )
        os.set_blocking(descriptor, True)
        yield pipe


def _has_writer(empty_pipe: int) -> bool:
    """Whether an empty pipe that does not block is open for writing."""
    try:
        os.read(empty_pipe, 1)
    except BlockingIOError:
        return True
    return False


def _standard_input() -> BinaryIO:
    if sys.stdin is None or sys.stdin.closed:
        raise AudioError("the standard input is closed", fix="name a file")
    if sys.stdin.isatty():
        raise AudioError(
            "the standard input is a terminal, not a recording",
            fix="write the recording to it: ... | calve transcribe BUNDLE -",
        )
    return sys.stdin.buffer


@contextmanager
def _piped(pipe: BinaryIO, where: str) -> Iterator[BinaryIO]:
    """Return the content of a pipe as a file."""
    with tempfile.SpooledTemporaryFile(_PIPED_BYTES_IN_MEMORY) as file:
        while block := pipe.read(_PIPED_BLOCK):
            if file.tell() + len(block) > _MOST_PIPED_BYTES:
                raise AudioError(
                    f"the pipe gives more than {_MOST_PIPED_BYTES >> 30} GiB",
                    where=where,
                    fix="write the recording to a file",
                )
            file.write(block)
        if not file.tell():
            raise AudioError("the pipe gave nothing", where=where)
        yield file  # type: ignore[misc]


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read sequentially.

    soundfile seeks to the present position after every read. In an MP3 this resets the decoder's
    state, and the following samples are zero or wrong.
    """

    def seekable(self) -> bool:
        return False


def _check_range(name: str, value: int, allowed: range, unit: str, where: str) -> None:
    if value not in allowed:
        raise AudioError(
            f"the {name} of the recording is {value:,}{unit}; "
            f"it must be from {allowed.start:,} to {allowed.stop - 1:,}{unit}",
            where=where,
            fix="the header may be damaged: convert the recording again from its source",
        )


@contextmanager
def decoding(where: str) -> Iterator[None]:
    """Convert errors of libsndfile and of reading to errors that name the recording."""
    try:
        yield
    except AudioError:
        raise
    except OSError as error:
        raise AudioError(f"cannot read the recording: {error.strerror}", where=where) from error
    except (soundfile.SoundFileError, TypeError) as error:
        # A name ending in .raw makes soundfile ask for parameters with a TypeError.
        reason = getattr(error, "error_string", str(error)).removeprefix("Error : ")
        reason = reason or "it is damaged or cut off"
        raise AudioError(
            f"cannot decode the recording: {reason}",
            where=where,
            fix="give a WAV, FLAC, OGG or MP3 file; others convert with `ffmpeg -i IN OUT.wav`",
        ) from error
