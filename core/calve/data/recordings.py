"""Recordings that a user names: files, folders or lists of paths; and their references."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calve.common.inputs import LARGEST_INPUT, decoded_text, parse_json, read_bytes
from calve.common.paths import visible_files
from calve.data.audio_files import check_is_no_pipe
from calve.data.text import normalized
from calve.errors import DataError

__all__ = [
    "AUDIO_SUFFIXES",
    "TRANSCRIPTS_FILE",
    "Recording",
    "find_recordings",
    "find_with_references",
    "match_transcripts",
    "read_transcripts",
]

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".au"})
"""Files that count as recordings when a folder is named."""

TRANSCRIPTS_FILE = "transcripts.txt"
"""Name of the transcripts file of a folder of recordings."""


@dataclass(frozen=True)
class Recording:
    """A recording and its transcript, if known."""

    path: Path
    reference: str | None = None


def find_recordings(sources: Iterable[Path]) -> list[Path]:
    """Return the recordings of the sources, in a fixed order.

    Args:
      sources: Each is a recording, a folder (searched to any depth), or a ``.txt`` list with one
        path a line; relative paths in a list count from the list's folder, else from the
        current one.

    Raises:
      DataError: if a source does not exist or stands for no recording, or a recording is a pipe.
    """
    found: dict[Path, None] = {}
    for source in sources:
        for path in _expand(source):
            check_is_no_pipe(path, DataError)
            found.setdefault(path)
    return list(found)


def find_with_references(sources: Sequence[Path], reference: Path | None) -> list[Recording]:
    """Recordings with their transcripts.

    Args:
      sources: As in `find_recordings`; the folder of ``reference`` if empty.
      reference: A transcripts file of all recordings. By default each recording has the nearest
        ``transcripts.txt`` on its path: that of its own folder, or of a folder above it up to the
        one that is named in ``sources``.

    Raises:
      DataError: if a file cannot be read, a transcript fits two recordings, or ``reference`` lacks
        a recording.
    """
    if reference is None:
        return _with_nearest_references(sources)
    paths = find_recordings(sources or [reference.parent])
    words = match_transcripts(read_transcripts(reference), paths, reference)
    unknown = [path for path, text in words.items() if text is None]
    if unknown:
        raise DataError(
            f"there is no transcript of {len(unknown)} of {len(paths)} recordings, "
            f"for example {unknown[0].name}",
            where=reference,
            fix="write a line 'file-name<TAB>words' for each, or leave these recordings out",
        )
    return [Recording(path, words[path]) for path in paths]


def _with_nearest_references(sources: Iterable[Path]) -> list[Recording]:
    files: dict[Path, Path | None] = {}
    for source in sources:
        for path in _expand(source):
            check_is_no_pipe(path, DataError)
            files[path] = files.get(path) or _nearest_transcripts(path, source)
    references: dict[Path, str | None] = {}
    for file in {file: None for file in files.values() if file is not None}:
        covered = [path for path in files if files[path] == file]
        references |= match_transcripts(read_transcripts(file), covered, file)
    return [Recording(path, references.get(path)) for path in files]


def _nearest_transcripts(recording: Path, source: Path) -> Path | None:
    """Return the nearest transcripts file of a recording from ``source``."""
    folders = [recording.parent]
    if source.is_dir():
        folders += [one for one in recording.parent.parents if one.is_relative_to(source)]
    candidates = (folder / TRANSCRIPTS_FILE for folder in folders)
    return next((file for file in candidates if file.is_file()), None)


def match_transcripts(
    transcripts: Mapping[str, str], recordings: Iterable[Path], file: Path
) -> dict[Path, str | None]:
    """Return the words of each recording; None if no transcript matches.

    A transcript fits the recording of that path, as it was named or relative to the folder of
    ``file``; else the recording of that path without suffix, of that file name, or of that file
    name without suffix. Of two recordings that a transcript fits, the one with the better fit
    has it.

    Args:
      transcripts: The result of `read_transcripts`.
      recordings: The recordings.
      file: The file that was read.

    Raises:
      DataError: if a transcript fits two recordings equally well.
    """
    words: dict[Path, str | None] = dict.fromkeys(recordings)
    fits: dict[str, list[tuple[int, Path]]] = {}
    for recording in words:
        for rank, name in _names(recording, file.parent):
            if name in transcripts:
                fits.setdefault(name, []).append((rank, recording))
                break
    for name, fitting in fits.items():
        best = min(rank for rank, _ in fitting)
        owners = [recording for rank, recording in fitting if rank == best]
        _check_is_one(owners, name, file)
        words |= dict.fromkeys(owners, transcripts[name])
    return words


def _names(recording: Path, folder: Path) -> Iterator[tuple[int, str]]:
    """Yield the names that a recording's transcript may have, the best (rank 0) first."""
    # macOS names files in another normal form of Unicode than most editors write.
    relative = Path(normalized(str(_relative(recording, folder))))
    yield 0, normalized(str(recording))
    yield 0, relative.as_posix()
    yield 1, relative.with_suffix("").as_posix()
    yield 2, relative.name
    yield 3, relative.stem


def _relative(recording: Path, folder: Path) -> Path:
    return Path(os.path.relpath(recording, folder))


def _check_is_one(recordings: Sequence[Path], name: str, file: Path) -> None:
    """Reject a transcript of several recordings; one recording may have several names."""
    first, *others = recordings
    for other in others:
        if _relative(other, file.parent) != _relative(first, file.parent):
            raise DataError(
                f"the transcript of {name} fits two recordings: {first} and {other}",
                where=file,
                fix="give each recording a line that begins with its path from the folder of this "
                f"file, such as '{_relative(first, file.parent)}'",
            )


def read_transcripts(path: Path) -> dict[str, str]:
    """Words by recording name, both in Unicode's normal form C.

    Args:
      path: Lines ``name<TAB>words`` (or kaldi's ``name words``), or a lhotse manifest of
        supervisions or cuts (``.jsonl``, ``.jsonl.gz``).

    Raises:
      DataError: if the file cannot be read or is empty, or names a recording twice.
    """
    transcripts: dict[str, str] = {}
    parse = _manifest_line if ".jsonl" in path.suffixes else _text_line
    for number, line in enumerate(_read_lines(path, "transcripts file"), start=1):
        try:
            name, words = parse(line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"this is no supervision or cut: {type(error).__name__}: {error}",
                where=f"{path}:{number}",
            ) from error
        name = normalized(name)
        if name in transcripts:
            raise DataError(f"{name} has two transcripts", where=f"{path}:{number}")
        transcripts[name] = " ".join(normalized(words).split())
    if not transcripts:
        raise DataError(
            "the file of transcripts is empty",
            where=path,
            fix="write a line 'file-name<TAB>words' for each recording",
        )
    return transcripts


def _text_line(line: str) -> tuple[str, str]:
    name, _, words = line.partition("\t") if "\t" in line else line.partition(" ")
    return name, words


def _manifest_line(line: str) -> tuple[str, str]:
    entry = parse_json(line)
    parts = entry.get("supervisions", [entry])
    name = entry.get("recording_id") or entry["id"]
    if not isinstance(name, str):
        raise ValueError("its name is not a text")
    return name, " ".join(part["text"] for part in parts)


def _expand(source: Path) -> list[Path]:
    if source.is_dir():
        files = sorted(
            file for file in visible_files(source, "**/*") if file.suffix.lower() in AUDIO_SUFFIXES
        )
        if not files:
            raise DataError("the folder holds no recordings", where=source)
        return files
    if source.suffix.lower() != ".txt":
        check_is_no_pipe(source, DataError)
        if not source.is_file():
            raise DataError("the recording does not exist", where=source)
        return [source]
    listed = [Path(line) for line in _read_lines(source, "list of recordings")]
    if not listed:
        raise DataError("the list of recordings is empty", where=source)
    beside = (source.parent / path for path in listed)
    return [near if near.exists() else path for near, path in zip(beside, listed, strict=True)]


def _decompressed(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        text = file.read(LARGEST_INPUT + 1)
    if len(text) > LARGEST_INPUT:
        raise EOFError(f"it expands to more than {LARGEST_INPUT} bytes")
    return text


def _read_lines(path: Path, what: str) -> list[str]:
    data = read_bytes(path, what, DataError)
    try:
        if path.suffix == ".gz":
            data = _decompressed(data)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the {what}: {reason}", where=path) from error
    # Not `splitlines`: a transcript may hold what Unicode counts as the end of a line.
    lines = decoded_text(data, path, what, DataError).split("\n")
    return [line.strip() for line in lines if line.strip()]
