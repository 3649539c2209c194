"""Storage of shards of cuts and their features for stage ``features``.

A shard is written by one task, whole or not at all: first its data, then its cuts. So a shard whose
cuts are there need not be written again, whoever was killed in the meantime.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from lhotse import CutSet, LilcomChunkyWriter
from lhotse.cut import Cut
from lhotse.features.io import FeaturesWriter, MemoryRawWriter
from lhotse.shar import ArrayTarWriter, AudioTarWriter
from lhotse.shar.utils import to_shar_placeholder

from calve.common.files import atomic_file
from calve_lhotse.extractor import CalveFbank
from calve_lhotse.reasons import reason
from calve_lhotse.samples import load_samples
from calve_lhotse.shar import cuts_name, field_name, shards_name
from calve_lhotse.stamps import StageOutput

__all__ = [
    "Archives",
    "FeatureShard",
    "SharFolders",
    "Storage",
    "UnreadableCut",
    "UnreadableCutsError",
]


class UnreadableCut(NamedTuple):
    """A cut whose audio cannot be used.

    Attributes:
      name: Its name.
      source: Its recording.
      reason: What is wrong, in one line.
    """

    name: str
    source: str
    reason: str


class UnreadableCutsError(Exception):
    """Some cuts of a shard have audio that cannot be used; the others are sound.

    Args:
      cuts: All of them.
    """

    def __init__(self, cuts: Sequence[UnreadableCut]) -> None:
        super().__init__(cuts)
        self.cuts = cuts


@dataclass(frozen=True)
class FeatureShard:
    """Cuts that one task works on."""

    number: int
    cuts: tuple[Cut, ...]


class Storage(Protocol):
    """What writes the shards of a part; it is pickled on its way to whoever works."""

    def cuts_file(self, number: int) -> Path:
        """The cuts of a shard; the file is there when the whole shard is."""

    def write(self, shard: FeatureShard) -> None:
        """Write a shard.

        Raises:
          UnreadableCutsError: if the audio of some cuts cannot be read; names them all.
        """

    def finish(self) -> None:
        """When all shards are written, make of them what `calve_lhotse.corpus` reads."""


@dataclass(frozen=True)
class Archives:
    """Shards in the part's own folder: lilcom archives, and a single manifest in the end.

    Attributes:
      folder: Where to write; absolute.
      manifest: Name of the manifest that lists all cuts.
      final: Where the archives will be found, relative to the data directory; None if no features
        are stored at all.
      prefix: Begins the names of the archives, where several parts share a folder.
      audio_root: What relative paths of recordings count from; they are stored as they are.
    """

    folder: Path
    manifest: str
    final: Path | None
    prefix: str = ""
    audio_root: Path = Path()

    def cuts_file(self, number: int) -> Path:
        """See `Storage`."""
        return self.folder / f"{self.prefix}shard-{number:05d}.jsonl.gz"

    def write(self, shard: FeatureShard) -> None:
        """See `Storage`."""
        cuts = list(shard.cuts) if self.final is None else self._write_archive(shard)
        with atomic_file(self.cuts_file(shard.number)) as temporary:
            CutSet.from_cuts(cuts).to_file(temporary)

    def finish(self) -> None:
        """See `Storage`."""
        pieces = sorted(self.folder.glob(f"{self.prefix}shard-*.jsonl.gz"))
        with atomic_file(self.folder / self.manifest) as temporary, temporary.open("wb") as joined:
            for piece in pieces:  # gzip files one after the other are a gzip file
                with piece.open("rb") as stream:
                    shutil.copyfileobj(stream, joined)
        for piece in pieces:
            piece.unlink()
        _remove_unfinished(self.folder)

    def _write_archive(self, shard: FeatureShard) -> list[Cut]:
        """The features of a shard; returns its cuts, which know where they will be."""
        assert self.final is not None
        name = f"{self.prefix}feats-{shard.number:05d}.lca"
        with atomic_file(self.folder / name) as temporary, LilcomChunkyWriter(temporary) as storage:
            stored = _each(shard.cuts, lambda cut: _with_features(cut, storage, self.audio_root))
        for cut in stored:
            cut.features = replace(cut.features, storage_path=str(self.final / name))
        return stored


@dataclass(frozen=True)
class SharFolders:
    """Shards as Lhotse Shar, dealt out among several folders, that may be on several disks.

    Attributes:
      folders: Where the shards go; absolute.
      listing: File that lists all shards in the end.
      field: What is stored: "features" or "recording".
    """

    folders: tuple[Path, ...]
    listing: Path
    field: str

    @classmethod
    def make(
        cls, shar_dirs: tuple[Path, ...], output: StageOutput, corpus: str, part: str, field: str
    ) -> SharFolders:
        """A folder in each of ``shar_dirs``, to be removed together with the stage's output."""
        name = f"{corpus}-{part}.{output.digest}"
        folders = tuple(path.absolute() / name for path in shar_dirs)
        output.claim(folders)
        return cls(folders, output.folder.absolute() / shards_name(corpus, part), field)

    def cuts_file(self, number: int) -> Path:
        """See `Storage`."""
        return self.folders[number % len(self.folders)] / cuts_name(number)

    def write(self, shard: FeatureShard) -> None:
        """See `Storage`."""
        cuts_file = self.cuts_file(shard.number)
        tar = cuts_file.with_name(field_name(self.field, cuts_file.name))
        with atomic_file(tar) as temporary:
            if self.field == "features":
                with ArrayTarWriter(str(temporary), None, compression="lilcom") as features:
                    cuts = _each(shard.cuts, lambda cut: _features_moved(cut, features))
            else:
                with AudioTarWriter(str(temporary), None, format="flac") as recordings:
                    cuts = _each(shard.cuts, lambda cut: _audio_moved(cut, recordings))
        with atomic_file(cuts_file) as temporary:
            CutSet.from_cuts(cuts).to_file(temporary)

    def finish(self) -> None:
        """See `Storage`."""
        shards = {path.name: str(path) for folder in self.folders for path in folder.glob("cuts.*")}
        in_order = [shards[name] for name in sorted(shards)]
        with atomic_file(self.listing) as temporary:
            temporary.write_text(json.dumps(in_order, indent=2) + "\n", encoding="utf-8")
        for folder in self.folders:
            _remove_unfinished(folder)


def _each(cuts: Sequence[Cut], store: Callable[[Cut], Cut]) -> list[Cut]:
    """The result of ``store`` for each cut.

    Raises:
      UnreadableCutsError: after all cuts, if some could not be read.
    """
    stored: list[Cut] = []
    unreadable: list[UnreadableCut] = []
    for cut in cuts:
        try:
            stored.append(store(cut))
        except UnreadableCutsError as error:
            unreadable += error.cuts
    if unreadable:
        raise UnreadableCutsError(unreadable)
    return stored


def _features_moved(cut: Cut, tar: ArrayTarWriter) -> Cut:
    """``cut`` without its features, which go into the tar file."""
    stored = _with_features(cut, MemoryRawWriter())
    placeholder = to_shar_placeholder(stored.features, cut)
    tar.write(cut.id, stored.features.load(), manifest=placeholder)
    # Times in Shar count from the beginning of the cut; those in a longer recording would not.
    is_whole = cut.start == 0 and abs(cut.duration - cut.recording.duration) < 1e-3
    recording = cut.recording if is_whole else None
    return replace(cut, start=0.0, features=placeholder, recording=recording)


def _audio_moved(cut: Cut, tar: AudioTarWriter) -> Cut:
    """``cut`` without its audio, which goes into the tar file."""
    with _reading(cut):
        samples = load_samples(cut)
    placeholder = to_shar_placeholder(cut.recording, cut)
    tar.write(cut.id, samples, cut.sampling_rate, manifest=placeholder)
    return replace(cut, start=0.0, recording=placeholder)


def _with_features(cut: Cut, storage: FeaturesWriter, audio_root: Path = Path()) -> Cut:
    """``cut`` with its features, which are computed and put into ``storage``."""
    with _reading(cut):
        samples = load_samples(cut.with_recording_path_prefix(audio_root))
    manifest = CalveFbank().extract_from_samples_and_store(
        samples, storage, cut.sampling_rate, offset=cut.start, channel=cut.channel
    )
    return replace(cut, features=replace(manifest, recording_id=cut.recording_id))


@contextmanager
def _reading(cut: Cut) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # lhotse tries several audio back ends; each fails with a type of its own.
        source = str(cut.recording.sources[0].source)
        raise UnreadableCutsError([UnreadableCut(cut.id, source, reason(error))]) from error


def _remove_unfinished(folder: Path) -> None:
    """What tasks left behind that were killed."""
    for path in folder.glob(".*.*"):
        path.unlink(missing_ok=True)
