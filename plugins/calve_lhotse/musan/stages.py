"""Stages of MUSAN: recordings, and features of their pieces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lhotse import CutSet, Recording, RecordingSet
from lhotse.cut import Cut

from calve.api import DataError
from calve.common.paths import visible_files
from calve_lhotse.extractor import CalveFbank
from calve_lhotse.musan.cuts import noise_path
from calve_lhotse.parallel import parallel_map
from calve_lhotse.reasons import reason
from calve_lhotse.sources import checked_items
from calve_lhotse.stages.features import CUTS_PER_SHARD, store_shards
from calve_lhotse.stages.manifests import check_recordings
from calve_lhotse.stages.storage import Archives
from calve_lhotse.stamps import resumable, stamp_of, stamped

if TYPE_CHECKING:
    from calve.common.progress import Progress
    from calve_lhotse.musan.options import MusanOptions

__all__ = ["features", "manifests"]

_PARTS = ("music", "speech", "noise")
_PIECE_S = 10.0
_SHORTEST_S = 5.0


def manifests(options: MusanOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``manifests/musan_recordings_PART.jsonl.gz``."""
    folder = options.dl_dir / "musan"
    missing = [part for part in _PARTS if not (folder / part).is_dir()]
    if missing:
        raise DataError(
            f"MUSAN is not here, or not whole: {', '.join(missing)} missing",
            where=folder,
            fix="download musan.tar.gz from https://www.openslr.org/17, unpack it, and give "
            "--dl-dir the folder that then holds `musan`",
        )
    paths = sorted(visible_files(folder, "**/*.wav"))
    listing = [(str(path), path.stat().st_size) for path in paths]
    with stamped(options.data_dir / "manifests", {"recordings": listing}) as output:
        if output.is_new:
            found = parallel_map(
                _recording, paths, jobs=options.jobs, title="reading recordings", progress=progress
            )
            for part in _PARTS:
                recordings = [
                    recording
                    for path, recording in zip(paths, found, strict=True)
                    if path.relative_to(folder).parts[0] == part
                ]
                check_recordings(part, recordings)
                RecordingSet.from_recordings(recordings).to_file(
                    output.folder / _manifest_name(part)
                )
                output.report[part] = len(recordings)
    return output.report


def features(options: MusanOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``fbank/musan/``: all recordings in pieces of ten seconds, the short rests left out."""
    path = noise_path(options.data_dir)
    key = {
        "manifests": stamp_of(options.data_dir / "manifests", "manifests"),
        "features": CalveFbank().config.fingerprint,
        "piece": (_PIECE_S, _SHORTEST_S),
        "cuts_per_shard": CUTS_PER_SHARD,
    }
    with resumable(path.parent, key) as output:
        if output.is_new:
            pieces = _pieces(options.data_dir)
            final = path.parent.relative_to(options.data_dir)
            storage = Archives(output.folder.absolute(), path.name, final)
            output.report.update(
                store_shards(
                    pieces,
                    storage,
                    options,
                    progress=progress,
                    title="computing features",
                    total=len(pieces),
                )
            )
            storage.finish()
    return output.report


def _recording(path: Path) -> Recording:
    try:
        return Recording.from_file(path)
    except Exception as error:
        # lhotse tries several audio back ends; each fails with a type of its own.
        raise DataError(
            f"cannot read a recording of MUSAN: {reason(error)}",
            where=path,
            fix="unpack its archive again",
        ) from error


def _pieces(data_dir: Path) -> list[Cut]:
    folder = data_dir / "manifests"
    recordings = [
        recording for part in _PARTS for recording in checked_items(folder / _manifest_name(part))
    ]
    cuts = CutSet.from_manifests(recordings=RecordingSet.from_recordings(recordings))
    pieces = list(cuts.cut_into_windows(_PIECE_S))
    longer = [piece for piece in pieces if piece.duration > _SHORTEST_S]
    if not longer:
        raise DataError(
            f"no recording of MUSAN lasts {_SHORTEST_S:g} s", where=data_dir, fix="unpack it again"
        )
    return longer


def _manifest_name(part: str) -> str:
    return f"musan_recordings_{part}.jsonl.gz"
