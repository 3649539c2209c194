"""Stage ``manifests``: the recordings of the data set and their splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from calve.api import DataError
from calve.common.paths import visible_files
from calve.common.progress import Progress, tracked
from calve_lhotse.stamps import stamp_of, stamped

if TYPE_CHECKING:
    from calve_lhotse.fsdd.options import FsddOptions

__all__ = [
    "SPLITS",
    "WORDS",
    "DigitRecording",
    "find_recordings",
    "manifests",
    "read_manifests",
    "split_recordings",
]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLITS = ("train", "valid", "test", "heldout")

_FILE_NAME = re.compile(r"\d_[^_]+_\d+\.wav")
_TEST_INDICES = range(5)
_VALID_INDEX = 5


@dataclass(frozen=True, order=True)
class DigitRecording:
    """One file of the data set: one speaker says one digit."""

    speaker: str
    digit: int
    index: int
    path: Path

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def word(self) -> str:
        return WORDS[self.digit]


def find_recordings(root: Path) -> list[DigitRecording]:
    """All recordings under ``root`` (or ``root/recordings``), in a fixed order.

    Raises:
      DataError: if there are none, or a WAV file is not named as the data set names them.
    """
    folder = root / "recordings" if (root / "recordings").is_dir() else root
    if not folder.is_dir():
        raise DataError("the data set's folder does not exist", where=root, fix=_HOW_TO_GET_IT)
    paths = sorted(visible_files(folder, "*.wav"))
    if not paths:
        raise DataError("no WAV files here", where=folder, fix=_HOW_TO_GET_IT)
    foreign = [path.name for path in paths if not _FILE_NAME.fullmatch(path.name)]
    if foreign:
        raise DataError(
            f"{len(foreign)} of {len(paths)} WAV files are not named DIGIT_SPEAKER_INDEX.wav, "
            f"for example {foreign[0]}",
            where=folder,
            fix="move other files elsewhere",
        )
    return sorted(_recording(path.absolute()) for path in paths)


def split_recordings(
    recordings: list[DigitRecording], held_out_speaker: str
) -> dict[str, list[DigitRecording]]:
    """Each recording in exactly one split; the held-out speaker in ``heldout`` alone.

    Raises:
      DataError: if the held-out speaker is unknown, or a split would be empty.
    """
    speakers = sorted({recording.speaker for recording in recordings})
    if held_out_speaker not in speakers or len(speakers) < 2:
        raise DataError(
            f"cannot hold out speaker {held_out_speaker!r}: the recordings are of "
            f"{', '.join(speakers)}",
            fix="choose one of at least two speakers with --held-out-speaker",
        )
    splits: dict[str, list[DigitRecording]] = {split: [] for split in SPLITS}
    for recording in recordings:
        splits[_split_of(recording, held_out_speaker)].append(recording)
    for split, members in splits.items():
        if not members:
            raise DataError(
                f"no recording falls into the {split} split",
                fix=f"indices 0-4 are for test, {_VALID_INDEX} for valid, later ones for train",
            )
    return splits


def manifests(options: FsddOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``manifests/fsdd_{recordings,supervisions}_SPLIT.jsonl.gz``."""
    recordings = find_recordings(options.root)
    splits = split_recordings(recordings, options.held_out_speaker)
    listing = [(recording.path, recording.path.stat().st_size) for recording in recordings]
    key = {"held_out_speaker": options.held_out_speaker, "recordings": listing}
    with stamped(options.data_dir / "manifests", key) as output:
        if output.is_new:
            with tracked(progress, "reading recordings", len(recordings)):
                for split, members in splits.items():
                    _write_manifests(output.folder, split, members, progress)
            output.report.update(
                recordings=len(recordings),
                speakers=dict(Counter(recording.speaker for recording in recordings)),
                splits={split: len(members) for split, members in splits.items()},
            )
    return output.report


def read_manifests(data_dir: Path) -> dict[str, list[DigitRecording]]:
    """The recordings of each split, as stage ``manifests`` wrote them down."""
    from lhotse import RecordingSet

    folder = data_dir / "manifests"
    stamp_of(folder, "manifests")
    splits = {}
    for split in SPLITS:
        listed = RecordingSet.from_file(folder / f"fsdd_recordings_{split}.jsonl.gz")
        paths = [Path(recording.sources[0].source) for recording in listed]
        splits[split] = [_recording(path) for path in paths]
    return splits


def _recording(path: Path) -> DigitRecording:
    digit, speaker, index = path.stem.split("_")
    return DigitRecording(speaker, int(digit), int(index), path)


def _split_of(recording: DigitRecording, held_out_speaker: str) -> str:
    if recording.speaker == held_out_speaker:
        return "heldout"
    if recording.index in _TEST_INDICES:
        return "test"
    return "valid" if recording.index == _VALID_INDEX else "train"


def _write_manifests(
    folder: Path, split: str, members: list[DigitRecording], progress: Progress
) -> None:
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

    recordings, supervisions = [], []
    for member in members:
        try:
            recording = Recording.from_file(member.path, recording_id=member.id)
        except Exception as error:
            # lhotse tries several audio back ends; each fails with a type of its own.
            raise DataError(
                "cannot read a recording", where=member.path, fix="fetch the data set again"
            ) from error
        recordings.append(recording)
        supervisions.append(
            SupervisionSegment(
                id=member.id,
                recording_id=member.id,
                start=0.0,
                duration=recording.duration,
                text=member.word,
                language="English",
                speaker=member.speaker,
            )
        )
        progress.advance()
    RecordingSet.from_recordings(recordings).to_file(folder / f"fsdd_recordings_{split}.jsonl.gz")
    SupervisionSet.from_segments(supervisions).to_file(
        folder / f"fsdd_supervisions_{split}.jsonl.gz"
    )


_HOW_TO_GET_IT = (
    "fetch https://github.com/Jakobovski/free-spoken-digit-dataset and give its folder to --root"
)
