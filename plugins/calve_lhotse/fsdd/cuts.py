"""Stage ``features``: filter banks of all utterances, and the cuts that tie all together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lhotse import (
    CutSet,
    Features,
    MonoCut,
    Recording,
    RecordingSet,
    SupervisionSegment,
    SupervisionSet,
)
from lhotse.features.io import NumpyFilesWriter
from lhotse.utils import fastcopy

from calve.api import DataError
from calve_lhotse.extractor import CalveFbank
from calve_lhotse.fsdd.recordings import SPLITS
from calve_lhotse.parallel import parallel_map
from calve_lhotse.stamps import stamp_of, stamped

if TYPE_CHECKING:
    from calve.protocols import Progress
    from calve_lhotse.fsdd.options import FsddOptions

__all__ = ["features", "load_cuts"]

_FOLDER = "fbank"


def features(options: FsddOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``fbank/features/*`` and ``fbank/fsdd_cuts_SPLIT.jsonl.gz``."""
    extractor = CalveFbank()
    key = {
        "audio": stamp_of(options.data_dir / "audio", "utterances"),
        "features": extractor.config.fingerprint,
    }
    with stamped(options.data_dir / _FOLDER, key) as output:
        if output.is_new:
            manifests = {split: _read_manifests(options.data_dir, split) for split in SPLITS}
            stored = iter(
                parallel_map(
                    partial(_extract, options.data_dir, output.folder),
                    [recording for split in SPLITS for recording, _ in manifests[split]],
                    jobs=options.jobs,
                    title="computing features",
                    progress=progress,
                )
            )
            for split in SPLITS:
                cuts = [_cut(*pair, next(stored)) for pair in manifests[split]]
                CutSet.from_cuts(cuts).to_file(output.folder / _cuts_name(split))
                output.report[split] = {
                    "cuts": len(cuts),
                    "frames": sum(cut.num_frames for cut in cuts),
                }
    return output.report


def load_cuts(data_dir: Path, split: str) -> CutSet:
    """The cuts of a split, with audio and features found wherever ``data_dir`` is now.

    Raises:
      DataError: if the split is unknown or not prepared.
    """
    if split not in SPLITS:
        raise DataError(f"fsdd has no split {split!r}", fix=f"choose one of {', '.join(SPLITS)}")
    path = Path(data_dir) / _FOLDER / _cuts_name(split)
    if not path.is_file():
        raise DataError(
            f"the {split} split has not been prepared", where=path, fix="run `calve prepare fsdd`"
        )
    cuts = CutSet.from_jsonl_lazy(path)  # from_file has nothing to say of an empty file
    return cuts.with_features_path_prefix(data_dir).with_recording_path_prefix(data_dir).to_eager()


def _cuts_name(split: str) -> str:
    return f"fsdd_cuts_{split}.jsonl.gz"


def _read_manifests(data_dir: Path, split: str) -> list[tuple[Recording, SupervisionSegment]]:
    audio = data_dir / "audio"
    recordings = RecordingSet.from_file(audio / f"fsdd_recordings_{split}.jsonl.gz")
    supervisions = SupervisionSet.from_file(audio / f"fsdd_supervisions_{split}.jsonl.gz")
    return list(zip(recordings, supervisions, strict=True))


def _extract(data_dir: Path, folder: Path, recording: Recording) -> Features:
    """One utterance's features, stored; the manifest's path is relative to the data directory."""
    with NumpyFilesWriter(folder / "features") as storage:
        stored = CalveFbank().extract_from_recording_and_store(
            recording.with_path_prefix(data_dir), storage, channels=0
        )
    return fastcopy(stored, storage_path=str(Path(_FOLDER, "features")))


def _cut(recording: Recording, supervision: SupervisionSegment, stored: Features) -> MonoCut:
    return MonoCut(
        id=recording.id,
        start=0.0,
        duration=recording.duration,
        channel=0,
        recording=recording,
        features=stored,
        supervisions=[supervision],
    )
