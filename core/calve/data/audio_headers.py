"""Repair of recording headers with a wrong length.

A recorder that is killed, or that writes to a pipe, cannot go back and write into the header how
many samples it wrote. It leaves zero there, or the largest number that fits; a copy that was cut
off promises more than it holds. The samples themselves are sound in all of these files.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

__all__ = ["LengthRepair", "PatchedFile", "repair_length"]

_MOST_CHUNKS = 1000
"""Chunks before the samples; no recorder writes as many."""

_UNKNOWN = {4: 0x7FFF0000, 8: 1 << 62}
"""Smallest value that means "unknown", by the bytes of a size field; recorders differ."""

_TRAILING_BYTES = 4096
"""Largest size of tags after the samples that is not noted."""

_W64_GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")


@dataclass(frozen=True)
class LengthRepair:
    """The repair of a header with a wrong length.

    Attributes:
      declared: Bytes of samples by the header; None if it does not state them.
      available: Bytes of samples that are read.
      trailing: Bytes after them that are neither samples by the header nor known chunks.
      patches: Replacements of header fields: bytes by offset.
    """

    declared: int | None
    available: int
    trailing: int
    patches: Mapping[int, bytes]

    def note(self, duration: float) -> str:
        """Return the note for the user.

        Args:
          duration: Seconds of the samples that are read.
        """
        if self.trailing:
            return f"{self.trailing:,} bytes after the samples that the header counts were not read"
        if self.declared is None:
            return "the header does not say how long the recording is: read to the end of the file"
        return ends_early(duration * self.declared / self.available, duration)


def ends_early(declared: float, duration: float) -> str:
    """Return the note about a recording that is shorter than its header states, in seconds."""
    return f"the header promises {declared:.1f} s, the file ends after {duration:.1f} s"


class PatchedFile(io.RawIOBase):
    """A file with some bytes replaced, for callbacks of a C library.

    Exceptions cannot pass through that library, which would print and drop them.

    Args:
      file: Readable and seekable. The caller closes it.
      patches: Bytes by offset.

    Attributes:
      failure: The error that ended reading; the file then appears to end there.
    """

    def __init__(self, file: BinaryIO, patches: Mapping[int, bytes]) -> None:
        self.failure: OSError | None = None
        self._file = file
        self._patches = patches

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Return the new position; an impossible position changes nothing."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        start = self._file.tell()
        try:
            data = bytearray(self._file.read(len(buffer)))
        except OSError as error:
            self.failure = error
            return 0
        for offset, patch in self._patches.items():
            first, last = max(start, offset), min(start + len(data), offset + len(patch))
            if first < last:
                data[first - start : last - start] = patch[first - offset : last - offset]
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True)
class _Container:
    """Layout of a file format's chunks and sizes.

    Attributes:
      first: Offset of the first chunk.
      name_bytes: Length of a chunk's name.
      size_format: Of a chunk's size, for `struct`.
      samples: Name of the chunk of samples.
      between: Bytes between the size field and the samples.
      header_counts: Whether a chunk's size counts its name and size field too.
      alignment: Alignment of chunks.
      total: Offset of the size of the whole file; None if there is none.
      total_excludes: Bytes at the beginning that the total excludes.
    """

    first: int
    name_bytes: int
    size_format: str
    samples: bytes
    between: int = 0
    header_counts: bool = False
    alignment: int = 2
    total: int | None = 4
    total_excludes: int = 8

    @property
    def size_bytes(self) -> int:
        return struct.calcsize(self.size_format)

    @property
    def head(self) -> int:
        """Bytes of a chunk's name and size."""
        return self.name_bytes + self.size_bytes

    def packed(self, size: int) -> bytes:
        return struct.pack(self.size_format, min(size, 2 ** (8 * self.size_bytes) - 1))


_RIFF = _Container(12, 4, "<I", b"data")
_RIFX = _Container(12, 4, ">I", b"data")
_AIFF = _Container(12, 4, ">I", b"SSND", between=8)
_CAF = _Container(8, 4, ">Q", b"data", between=4, alignment=1, total=None)
_W64 = _Container(
    40, 16, "<Q", b"data" + _W64_GUID, header_counts=True, alignment=8, total=16, total_excludes=0
)
_AU = {
    b".snd": _Container(0, 8, ">I", b"", total=None),
    b"dns.": _Container(0, 8, "<I", b"", total=None),
}


@dataclass(frozen=True)
class _Chunk:
    """One chunk of a file.

    Attributes:
      name: Its name.
      size_at: Offset of its size field.
      stated: Value of the size field.
      start: Offset of its content; of the first sample, if it holds the samples.
      size: Bytes of its content by the size field; negative if that is impossible.
    """

    name: bytes
    size_at: int
    stated: int
    start: int
    size: int


def repair_length(file: BinaryIO) -> LengthRepair | None:
    """Return the repair of a wrong length in a header of WAV, RF64, W64, AIFF, CAF or AU.

    Args:
      file: Readable and seekable. Its position is undefined afterwards.

    Returns:
      None for other formats, for other damage, and if nothing is wrong.
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(44)
    container = _container(start)
    if container is None:
        return None
    samples = _samples(file, container, start, length)
    if samples is None or samples.start >= length:
        return None
    available = length - samples.start
    size, unknown = samples.size, samples.stated >= _UNKNOWN[container.size_bytes]
    is_wide = start[:4] == b"RF64"
    has_wide_sizes = is_wide and start[12:16] == b"ds64" and len(start) >= 36
    if has_wide_sizes:
        size = struct.unpack_from("<Q", start, 28)[0]
        unknown = size >= _UNKNOWN[8]
    if size <= available:
        end = samples.start + max(size, 0)
        if _is_chain(file, container, end + -end % container.alignment, length):
            return None
        if size > 0:
            trailing = length - end
            return LengthRepair(size, size, trailing, {}) if trailing > _TRAILING_BYTES else None
    patches = _sizes(container, samples, length)
    if has_wide_sizes:
        patches[20] = struct.pack("<QQ", length - 8, available)
        patches[samples.size_at] = b"\xff" * 4
    elif is_wide:
        patches[0] = b"RIFF"
    return LengthRepair(None if unknown or size <= 0 else size, available, 0, patches)


def _sizes(container: _Container, samples: _Chunk, length: int) -> dict[int, bytes]:
    """The size fields of a file whose samples last to its end."""
    first = samples.size_at - container.name_bytes
    counted = length - first if container.header_counts else length - first - container.head
    sizes = {samples.size_at: container.packed(counted)}
    if container in _AU.values():
        sizes[samples.size_at] = container.packed(length - samples.start)
    if container.total is not None:
        sizes[container.total] = container.packed(length - container.total_excludes)
    return sizes


def _container(start: bytes) -> _Container | None:
    kind, form = start[:4], start[8:12]
    if kind in (b"RIFF", b"RF64") and form == b"WAVE":
        return _RIFF
    if kind == b"RIFX" and form == b"WAVE":
        return _RIFX
    if kind == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _AIFF
    if kind == b"caff":
        return _CAF
    if kind == b"riff" and start[24:40] == b"wave" + _W64_GUID:
        return _W64
    return _AU.get(kind) if len(start) >= 24 else None


def _samples(file: BinaryIO, container: _Container, start: bytes, length: int) -> _Chunk | None:
    """The chunk of samples."""
    if container in _AU.values():
        offset, stated = struct.unpack_from(container.size_format[0] + "II", start, 4)
        return _Chunk(b"", 8, stated, offset, stated)
    for chunk in _chunks(file, container, container.first, length):
        if chunk.name == container.samples:
            return replace(
                chunk,
                start=chunk.start + container.between,
                size=chunk.size - container.between,
            )
    return None


def _chunks(file: BinaryIO, container: _Container, offset: int, length: int) -> Iterator[_Chunk]:
    """One chunk after another, as far as their sizes lead."""
    for _ in range(_MOST_CHUNKS):
        if offset + container.head > length:
            return
        file.seek(offset)
        header = file.read(container.head)
        name = header[: container.name_bytes]
        (stated,) = struct.unpack(container.size_format, header[container.name_bytes :])
        start = offset + container.head
        size = stated - container.head if container.header_counts else stated
        yield _Chunk(name, offset + container.name_bytes, stated, start, size)
        if size < 0:
            return
        offset = start + size + -(start + size) % container.alignment


def _is_chain(file: BinaryIO, container: _Container, offset: int, length: int) -> bool:
    """Whether sound chunks, or nothing, lead from an offset to the end of the file."""
    if length - offset < container.head:
        return True
    if container in _AU.values():
        return False
    end = offset
    for chunk in _chunks(file, container, offset, length):
        end = chunk.start + chunk.size
        if not chunk.name[:4].isascii() or not chunk.name[:4].decode().isprintable():
            return False
        if chunk.size < 0 or end > length:
            return False
    return length - end < container.head
