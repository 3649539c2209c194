"""Stage ``features``: filter banks of all utterances, and the cuts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lhotse import CutSet, RecordingSet, SupervisionSet

from calve.api import DataError
from calve.data.utterances import Utterance
from calve_lhotse.extractor import CalveFbank
from calve_lhotse.fsdd.recordings import SPLITS
from calve_lhotse.reasons import cuts_explained
from calve_lhotse.sources import checked_items
from calve_lhotse.stages.features import CUTS_PER_SHARD, store_shards, utterances
from calve_lhotse.stages.storage import Archives
from calve_lhotse.stamps import resumable, stamp_of
from calve_lhotse.utterances import utterances_of

if TYPE_CHECKING:
    from calve.common.progress import Progress
    from calve_lhotse.fsdd.options import FsddOptions

__all__ = ["features", "load_cuts", "load_utterances"]

_FOLDER = "fbank"


def features(options: FsddOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``fbank/fsdd_cuts_SPLIT.jsonl.gz`` and the archives of their features."""
    key = {
        "audio": stamp_of(options.data_dir / "audio", "utterances"),
        "features": CalveFbank().config.fingerprint,
        "cuts_per_shard": CUTS_PER_SHARD,
    }
    with resumable(options.data_dir / _FOLDER, key) as output:
        if output.is_new:
            storages = {
                split: Archives(
                    output.folder.absolute(),
                    _cuts_name(split),
                    final=Path(_FOLDER),
                    prefix=f"{split}-",
                    audio_root=options.data_dir.absolute(),
                )
                for split in SPLITS
            }
            for split, storage in storages.items():
                cuts = utterances(*_read_manifests(options.data_dir, split))
                output.report[split] = store_shards(
                    cuts,
                    storage,
                    options,
                    progress=progress,
                    title=f"{split}: computing features",
                    total=len(cuts),
                )
            # All in the end: a run that is killed before finds every shard that it wrote.
            for storage in storages.values():
                storage.finish()
    return output.report


def load_cuts(data_dir: Path, split: str) -> CutSet:
    """The cuts of a split, with audio and features found wherever ``data_dir`` is now.

    Raises:
      DataError: if the split is unknown or not prepared, or its cuts cannot be read.
    """
    if split not in SPLITS:
        raise DataError(f"fsdd has no split {split!r}", fix=f"choose one of {', '.join(SPLITS)}")
    path = Path(data_dir) / _FOLDER / _cuts_name(split)
    if not path.is_file():
        raise DataError(
            f"the {split} split has not been prepared", where=path, fix="run `calve prepare fsdd`"
        )
    with cuts_explained(path, f"remove {path.parent}, and run `calve prepare fsdd` again"):
        cuts = CutSet.from_cuts(checked_items(path))
        cuts = cuts.with_features_path_prefix(data_dir).with_recording_path_prefix(data_dir)
        return cuts.to_eager()


def load_utterances(data_dir: Path, split: str) -> Iterator[Utterance]:
    """The utterances of `load_cuts`."""
    return utterances_of(load_cuts(data_dir, split))


def _cuts_name(split: str) -> str:
    return f"fsdd_cuts_{split}.jsonl.gz"


def _read_manifests(data_dir: Path, split: str) -> tuple[RecordingSet, SupervisionSet]:
    audio = data_dir / "audio"
    return (
        RecordingSet.from_recordings(checked_items(audio / f"fsdd_recordings_{split}.jsonl.gz")),
        SupervisionSet.from_file(audio / f"fsdd_supervisions_{split}.jsonl.gz"),
    )
