"""Recordings that a person names: files, folders, lists of paths; and what is said in them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calve.errors import DataError

__all__ = [
    "AUDIO_SUFFIXES",
    "TRANSCRIPTS_FILE",
    "Recording",
    "find_recordings",
    "find_with_references",
    "read_transcripts",
    "transcript_of",
]

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".au"})
"""Files that count as recordings when a folder is named."""

TRANSCRIPTS_FILE = "transcripts.txt"
"""Where a folder of recordings keeps what is said in them."""


@dataclass(frozen=True)
class Recording:
    """A recording and, if known, what is said in it."""

    path: Path
    reference: str | None = None


def find_recordings(sources: Iterable[Path]) -> list[Path]:
    """The recordings that the sources stand for, in a fixed order.

    Args:
      sources: Each is a recording, a folder (searched to any depth), or a ``.txt`` list with one
        path a line; relative paths in a list count from the list's folder, else from the
        current one.

    Raises:
      DataError: if a source does not exist or stands for no recording.
    """
    found: dict[Path, None] = {}
    for source in sources:
        for path in _expand(source):
            found.setdefault(path)
    return list(found)


def find_with_references(sources: Sequence[Path], reference: Path | None) -> list[Recording]:
    """Recordings with their transcripts.

    Args:
      sources: As in `find_recordings`; the folder of ``reference`` if empty.
      reference: A transcripts file; by default each folder's own ``transcripts.txt``, if any.

    Raises:
      DataError: if a file cannot be read, or ``reference`` does not know a recording.
    """
    if reference is None:
        own = (source / TRANSCRIPTS_FILE for source in sources if source.is_dir())
        transcripts: dict[str, str] = {}
        for file in own:
            if file.is_file():
                transcripts |= read_transcripts(file)
        return [
            Recording(path, transcript_of(transcripts, path)) for path in find_recordings(sources)
        ]
    transcripts = read_transcripts(reference)
    recordings = [
        Recording(path, transcript_of(transcripts, path))
        for path in find_recordings(sources or [reference.parent])
    ]
    unknown = [one.path.name for one in recordings if one.reference is None]
    if unknown:
        raise DataError(
            f"there is no transcript of {len(unknown)} of {len(recordings)} recordings, "
            f"for example {unknown[0]}",
            where=reference,
            fix="write a line 'file-name<TAB>words' for each, or leave these recordings out",
        )
    return recordings


def read_transcripts(path: Path) -> dict[str, str]:
    """Words by recording name.

    Args:
      path: Lines ``name<TAB>words`` (or kaldi's ``name words``), or a lhotse manifest of
        supervisions or cuts (``.jsonl``, ``.jsonl.gz``).

    Raises:
      DataError: if the file cannot be read or is empty, or names a recording twice.
    """
    transcripts: dict[str, str] = {}
    parse = _manifest_line if ".jsonl" in path.suffixes else _text_line
    for number, line in enumerate(_read_lines(path, "transcripts"), start=1):
        try:
            name, words = parse(line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"this is no supervision or cut: {type(error).__name__}: {error}",
                where=f"{path}:{number}",
            ) from error
        if name in transcripts:
            raise DataError(f"{name} has two transcripts", where=f"{path}:{number}")
        transcripts[name] = " ".join(words.split())
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
    entry = json.loads(line)
    parts = entry.get("supervisions", [entry])
    return entry.get("recording_id") or entry["id"], " ".join(part["text"] for part in parts)


def transcript_of(transcripts: Mapping[str, str], path: Path) -> str | None:
    """What `read_transcripts` found for a recording: by its path, its name, or its stem."""
    keys = (str(path), path.name, path.stem)
    return next((transcripts[key] for key in keys if key in transcripts), None)


def _expand(source: Path) -> list[Path]:
    if source.is_dir():
        files = sorted(file for file in source.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
        if not files:
            raise DataError("the folder holds no recordings", where=source)
        return files
    if source.suffix.lower() != ".txt":
        if not source.is_file():
            raise DataError("the recording does not exist", where=source)
        return [source]
    listed = [Path(line) for line in _read_lines(source, "list of recordings")]
    if not listed:
        raise DataError("the list of recordings is empty", where=source)
    beside = (source.parent / path for path in listed)
    return [near if near.exists() else path for near, path in zip(beside, listed, strict=True)]


def _read_lines(path: Path, what: str) -> list[str]:
    try:
        data = path.read_bytes()
        lines = (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the {what}: {reason}", where=path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"the {what}: not UTF-8 text", where=path) from error
    return [line.strip() for line in lines if line.strip()]
