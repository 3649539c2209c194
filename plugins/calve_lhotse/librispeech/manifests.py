"""Stage ``manifests`` of LibriSpeech: its recordings and transcripts, by lhotse's recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lhotse import Recording, SupervisionSegment
from lhotse.recipes.librispeech import parse_utterance

from calve.api import DataError
from calve.common.inputs import read_text
from calve.common.paths import visible_files
from calve_lhotse.corpus import Corpus
from calve_lhotse.parallel import parallel_map
from calve_lhotse.reasons import reason
from calve_lhotse.stages.manifests import write_corpus, write_part
from calve_lhotse.stamps import stamped

if TYPE_CHECKING:
    from calve.common.progress import Progress
    from calve_lhotse.librispeech.options import LibriSpeechOptions

__all__ = ["manifests"]

_TRAIN = ("train-clean-100", "train-clean-360", "train-other-500")
_VALID = ("dev-clean", "dev-other")
_TEST = ("test-clean", "test-other")


@dataclass(frozen=True)
class TranscriptLine:
    """One line of a ``trans.txt``: the utterance's name and its words."""

    file: Path
    number: int
    text: str


def manifests(options: LibriSpeechOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``manifests/PART/`` for every part of LibriSpeech that is needed and there."""
    folder = options.dl_dir / "LibriSpeech"
    train = _TRAIN if options.full_libri else _TRAIN[:1]
    parts = _parts(folder, train)
    report = {part: _manifests_of(options, folder / part, progress) for part in parts}
    valid = tuple(part for part in _VALID if part in parts)
    write_corpus(options.data_dir, Corpus("librispeech", parts, train, valid))
    return report


def _parts(folder: Path, train: tuple[str, ...]) -> tuple[str, ...]:
    """All training parts, and the others that are there.

    Raises:
      DataError: if a training part is missing, or nothing to validate on is there.
    """
    if not folder.is_dir():
        raise DataError(
            "LibriSpeech is not here",
            where=folder,
            fix="download its archives from https://www.openslr.org/12, unpack them side by side, "
            "and give --dl-dir the folder that then holds `LibriSpeech`",
        )
    present = [part for part in (*train, *_VALID, *_TEST) if (folder / part).is_dir()]
    missing = [part for part in train if part not in present]
    if missing:
        raise DataError(
            f"parts to train on are missing: {', '.join(missing)}",
            where=folder,
            fix="download and unpack them from https://www.openslr.org/12"
            + (", or prepare train-clean-100 alone with --full-libri 0" if len(train) > 1 else ""),
        )
    if not {*_VALID} & {*present}:
        raise DataError(
            "neither dev-clean nor dev-other is here, to validate on",
            where=folder,
            fix="download and unpack one of them from https://www.openslr.org/12",
        )
    return tuple(present)


def _manifests_of(
    options: LibriSpeechOptions, folder: Path, progress: Progress
) -> Mapping[str, object]:
    transcripts = sorted(visible_files(folder, "*/*/*.trans.txt"))
    if not transcripts:
        raise DataError(
            "no transcripts here",
            where=folder,
            fix="a part holds SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt: unpack its archive again",
        )
    listing = [(str(path.relative_to(folder)), path.stat().st_size) for path in transcripts]
    key = {"folder": folder.absolute(), "transcripts": listing}
    with stamped(options.data_dir / "manifests" / folder.name, key) as output:
        if output.is_new:
            lines = [line for path in transcripts for line in _lines(path)]
            pairs = parallel_map(
                partial(_utterance, folder.absolute()),
                lines,
                jobs=options.jobs,
                title=f"{folder.name}: reading recordings",
                progress=progress,
            )
            recordings, supervisions = zip(*pairs, strict=True)
            output.report.update(
                write_part(output.folder, "librispeech", folder.name, recordings, supervisions)
            )
    return output.report


def _lines(path: Path) -> Iterator[TranscriptLine]:
    lines = read_text(path, "transcript", DataError).split("\n")
    for number, text in enumerate(lines, start=1):
        if text.strip():
            yield TranscriptLine(path, number, text)


def _utterance(part: Path, line: TranscriptLine) -> tuple[Recording, SupervisionSegment]:
    where = f"{line.file}, line {line.number}"
    name, _, words = line.text.strip().partition(" ")
    if not words.strip():
        raise DataError(f"{name} has no transcript", where=where, fix="unpack the archive again")
    try:
        found = parse_utterance(part, line.text, {})
    except Exception as error:
        # lhotse tries several audio back ends; each fails with a type of its own.
        raise DataError(
            f"cannot read the recording of {name}: {reason(error)}",
            where=where,
            fix="unpack the archive again",
        ) from error
    if found is None:
        raise DataError(
            f"the recording {name}.flac is missing", where=where, fix="unpack the archive again"
        )
    recording, supervision = found
    return recording, supervision
