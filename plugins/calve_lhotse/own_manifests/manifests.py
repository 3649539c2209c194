"""Stage ``manifests`` of corpora with existing manifests: checks and copies them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.cut import MonoCut, MultiCut

from calve.api import DataError
from calve.common.files import file_sha256
from calve.common.inputs import check_input, check_not_placeholder, check_size
from calve.common.paths import visible_files
from calve.common.progress import Progress, tracked
from calve_lhotse.corpus import Corpus
from calve_lhotse.reasons import reason
from calve_lhotse.sources import checked_items
from calve_lhotse.stages.manifests import write_corpus, write_part
from calve_lhotse.stamps import stamped

if TYPE_CHECKING:
    from calve_lhotse.own_manifests.options import ManifestsOptions

__all__ = ["manifests"]

_KINDS = ("recordings", "supervisions", "cuts")
_SUFFIXES = (".jsonl.gz", ".jsonl")
_LARGEST_MANIFEST = 2**32  # bytes
_TOLERANCE = 1e-3  # seconds, lhotse's own when it joins recordings and supervisions


@dataclass(frozen=True)
class Found:
    """The manifests of one part: recordings and supervisions, or cuts."""

    name: str
    paths: tuple[Path, ...]


def manifests(options: ManifestsOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``manifests/PART/`` for every part, with the audio's paths made absolute.

    Raises:
      DataError: if manifests are missing, cannot be read, or do not fit together; if audio is
        missing; and as `write_part`.
    """
    found = {part: _find(options.manifest_dir, options.prefix, part) for part in options.parts}
    names = {manifest.name for manifest in found.values()}
    if len(names) > 1:
        raise DataError(
            f"the parts have manifests of several names: {', '.join(sorted(names))}",
            where=options.manifest_dir,
            fix="choose one with --prefix",
        )
    (name,) = names
    with tracked(progress, "reading manifests", len(found)):
        report = {}
        for part, manifest in found.items():
            report[part] = _manifests_of(options, name, part, manifest.paths)
            progress.advance()
    write_corpus(options.data_dir, Corpus(name, options.parts, options.train, options.valid))
    return report


def _find(folder: Path, prefix: str | None, part: str) -> Found:
    """The manifests of a part; cuts only where there are no recordings and supervisions."""
    if not folder.is_dir():
        raise DataError("there is no such folder", where=folder, fix="correct --manifest-dir")
    by_kind = {kind: _by_name(folder, kind, part) for kind in _KINDS}
    names = {name for by_name in by_kind.values() for name in by_name}
    if prefix is not None:
        names &= {prefix}
    if len(names) > 1:
        raise DataError(
            f"{part} has manifests of several names: {', '.join(sorted(names))}",
            where=folder,
            fix="choose one with --prefix",
        )
    name = next(iter(names), prefix or "NAME")
    recordings, supervisions, cuts = (by_kind[kind].get(name) for kind in _KINDS)
    if recordings and supervisions:
        return Found(name, (recordings, supervisions))
    if cuts:
        return Found(name, (cuts,))
    missing = "supervisions" if recordings else "recordings"
    raise DataError(
        f"{part} has no {missing}: there is no {name}_{missing}_{part}.jsonl.gz",
        where=folder,
        fix=f"put both recordings and supervisions there, or {name}_cuts_{part}.jsonl.gz",
    )


def _by_name(folder: Path, kind: str, part: str) -> dict[str, Path]:
    endings = [f"_{kind}_{part}{suffix}" for suffix in _SUFFIXES]
    return {
        path.name.removesuffix(ending): path
        for ending in reversed(endings)
        for path in visible_files(folder, "*")
        if path.name.endswith(ending)
    }


def _manifests_of(
    options: ManifestsOptions, name: str, part: str, paths: Sequence[Path]
) -> Mapping[str, object]:
    for path in paths:
        check_not_placeholder(path, "manifest", DataError)
        if not path.is_file():
            check_input(path, "manifest", DataError)
        check_size(path, "manifest", DataError, limit=_LARGEST_MANIFEST)
    # Times would not do: copies, archives and clocks that are set give other content an older one.
    key = {
        "name": name,
        "drop_tags": options.drop_tags,
        "manifests": [(path.absolute(), file_sha256(path)) for path in paths],
    }
    allowed = {"allow_commands": options.allow_commands}
    with stamped(options.data_dir / "manifests" / part, key) as output:
        if output.is_new:
            if len(paths) == 1:
                recordings, supervisions = _of_cuts(paths[0], **allowed)
            else:
                recordings = list(_read(RecordingSet, paths[0], **allowed))
                supervisions = list(_read(SupervisionSet, paths[1], **allowed))
            by_id = _by_id(recordings, paths[0])
            _check_pairs(by_id, supervisions, paths[-1])
            spoken = {supervision.recording_id for supervision in supervisions}
            used = [
                recording.with_path_prefix(Path.cwd())
                for recording in by_id.values()
                if recording.id in spoken
            ]
            _check_audio(part, used)
            written = write_part(
                output.folder, name, part, used, supervisions, drop_tags=options.drop_tags
            )
            output.report.update(written)
            if len(used) < len(by_id):
                output.report["recordings_without_transcript"] = len(by_id) - len(used)
    return output.report


def _read(kind: type, path: Path, *, allow_commands: bool) -> Iterator[Any]:
    if not path.is_file():
        check_input(path, "manifest", DataError)
    try:
        for item in checked_items(path, allow=allow_commands):
            expected = {RecordingSet: Recording, SupervisionSet: SupervisionSegment}.get(kind)
            if expected is not None and not isinstance(item, expected):
                raise TypeError(f"it holds a {type(item).__name__}")
            yield item
    except DataError:
        raise
    except Exception as error:
        # Whatever is wrong with a manifest, lhotse's readers say it in their own way.
        raise DataError(
            f"cannot read this as a {kind.__name__}: {reason(error)}",
            where=path,
            fix="write it again with lhotse",
        ) from error


def _of_cuts(
    path: Path, *, allow_commands: bool
) -> tuple[list[Recording], list[SupervisionSegment]]:
    """What cuts refer to, with times that count from the recording's beginning."""
    recordings: dict[str, Recording] = {}
    supervisions = []
    for cut in _read(CutSet, path, allow_commands=allow_commands):
        if not isinstance(cut, (MonoCut, MultiCut)) or cut.recording is None:
            raise DataError(
                "a cut is mixed or padded, or has no recording",
                where=f"{path}, cut {cut.id}",
                fix="give the cuts from before they were mixed, padded or stripped of recordings",
            )
        known = recordings.setdefault(cut.recording_id, cut.recording)
        if known != cut.recording:
            raise DataError(
                f"two recordings are called {cut.recording_id}", where=f"{path}, cut {cut.id}"
            )
        supervisions += [supervision.with_offset(cut.start) for supervision in cut.supervisions]
    return list(recordings.values()), supervisions


def _by_id(recordings: Iterable[Recording], path: Path) -> dict[str, Recording]:
    by_id: dict[str, Recording] = {}
    for recording in recordings:
        if by_id.setdefault(recording.id, recording) is not recording:
            raise DataError(f"two recordings are called {recording.id}", where=path)
    return by_id


def _check_pairs(
    recordings: Mapping[str, Recording], supervisions: Iterable[SupervisionSegment], path: Path
) -> None:
    for supervision in supervisions:
        recording = recordings.get(supervision.recording_id)
        complaint: str | None
        if recording is None:
            complaint = f"belongs to recording {supervision.recording_id}, which is not listed"
        else:
            complaint = _misfit(recording, supervision)
        if complaint:
            raise DataError(
                f"utterance {supervision.id} {complaint}",
                where=path,
                fix="`lhotse fix` leaves out what does not match and trims what is too long; "
                "recordings must have one channel",
            )


def _misfit(recording: Recording, supervision: SupervisionSegment) -> str | None:
    """Why a supervision cannot be a part of its recording."""
    if recording.num_channels != 1:
        return f"belongs to a recording of {recording.num_channels} channels"
    (channel,) = recording.channel_ids
    if supervision.channel != channel:
        return f"is on channel {supervision.channel}, but the recording on {channel}"
    first, last = supervision.start, supervision.end
    if first < -_TOLERANCE or last > recording.duration + _TOLERANCE:
        return f"lasts from {first} to {last} s, but its recording {recording.duration} s"
    return None


def _check_audio(part: str, recordings: Iterable[Recording]) -> None:
    """All files must be there; the stage ``features`` reads them."""
    for recording in recordings:
        for source in recording.sources:
            if source.type == "file" and not Path(source.source).is_file():
                raise DataError(
                    f"the audio of recording {recording.id} of {part} is missing",
                    where=source.source,
                    fix="correct the paths in the manifests; relative ones count from the folder "
                    "that calve is run in",
                )
