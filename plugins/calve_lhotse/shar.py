"""Random access to Lhotse Shar: reads cuts in sequence, and their data on demand.

lhotse's own iterator reads the tar files from front to back, together with the cuts. A sampler's
buffer then holds the data of thousands of cuts, and a run that continues in the middle of an epoch
reads what it skips. Here the cuts alone are read in sequence, and whoever makes a batch, a worker
process mostly, reads the members of the tar files that it needs.
"""

from __future__ import annotations

import random
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lhotse import AudioSource
from lhotse.cut import Cut
from lhotse.features.io import FeaturesReader, get_reader, register_reader

from calve.api import DataError
from calve.common.inputs import read_json
from calve_lhotse.sections import CutFiles

__all__ = ["cuts_name", "field_name", "open_shards", "read_shards", "shards_name"]

_TARS_REMEMBERED = 256
_READERS = {".llc": "memory_lilcom", ".npy": "memory_npy"}
_NO_DATA = (".json", ".nodata", ".nometa")


def cuts_name(number: int) -> str:
    """What the cuts of a shard are called, as lhotse's `SharWriter` calls them."""
    return f"cuts.{number:06d}.jsonl.gz"


def field_name(field: str, cuts: str) -> str:
    """The tar file that belongs to a file of cuts and holds their "features" or "recording"."""
    return f"{field}.{cuts.removeprefix('cuts.').removesuffix('.jsonl.gz')}.tar"


def shards_name(corpus: str, part: str) -> str:
    """What the list of a part's shards is called."""
    return f"{corpus}_shards_{part}.json"


def read_shards(listing: Path) -> list[Path]:
    """The files of cuts that stage ``features`` listed.

    Raises:
      DataError: if the list is damaged or names a shard twice, or one is not where it was.
    """
    try:
        shards = [Path(name) for name in read_json(listing, "list of shards", DataError)]
    except (DataError, TypeError) as error:
        raise DataError(
            "the list of shards cannot be read", where=listing, fix="run stage `features` again"
        ) from error
    for shard, count in Counter(shards).items():
        if count > 1:
            raise DataError(
                f"a shard is listed {count} times: {shard.name}",
                where=listing,
                fix="remove the other lines, or run stage `features` again",
            )
        if not shard.is_file():
            raise DataError(
                "a shard is missing",
                where=shard,
                fix=f"mount its disk; if the shards were moved, correct {listing}",
            )
    return shards


def open_shards(
    shards: Sequence[Path], shuffle_seed: int | None = None, allow_commands: bool = False
) -> CutFiles:
    """The cuts of these shards; their data are not read.

    Args:
      shards: Files of cuts, each in one folder with its tar files.
      shuffle_seed: Decides the order of the shards; None keeps that of ``shards``.
      allow_commands: Whether sources may be commands and URLs.
    """
    if shuffle_seed is not None:
        shards = random.Random(shuffle_seed).sample(shards, len(shards))
    return CutFiles(shards, _with_data_in_place, allow_commands)


def _with_data_in_place(cut: Cut, shard: Path) -> Cut:
    """``cut`` with features and audio that are read from the tar files of its shard."""
    if cut.has_features and cut.features.storage_type == "shar":
        cut.features = replace(
            cut.features,
            storage_type=TarFeatures.name,
            storage_path=str(shard.with_name(field_name("features", shard.name))),
            storage_key=cut.id,
        )
    if cut.has_recording and cut.recording.sources[0].type == "shar":
        tar = str(shard.with_name(field_name("recording", shard.name)))
        source = TarAudio("shar", cut.recording.channel_ids, tar, key=cut.id)
        cut.recording = replace(cut.recording, sources=[source])
    return cut


@register_reader
class TarFeatures(FeaturesReader):  # type: ignore[misc]
    """Features that are a member of a tar file; the key is the name of the cut."""

    name = "calve-tar"

    def __init__(self, storage_path: str) -> None:
        self._path = storage_path

    def read(
        self, key: str, left_offset_frames: int = 0, right_offset_frames: int | None = None
    ) -> np.ndarray:
        """Frames of (T, C) float32.

        Raises:
          ValueError: if the file has no such member, or is damaged.
          OSError: if it cannot be read.
        """
        data, suffix = _read_member(self._path, key)
        reader = get_reader(_READERS[suffix])()
        return np.asarray(reader.read(data, left_offset_frames, right_offset_frames))


@dataclass
class TarAudio(AudioSource):  # type: ignore[misc]
    """Audio that is a member of the tar file ``source``, under the name of its cut."""

    key: str = ""

    def load_audio(
        self,
        offset: float = 0.0,
        duration: float | None = None,
        force_opus_sampling_rate: int | None = None,
    ) -> np.ndarray:
        """(channels, n) or (n,) float32; see lhotse's `AudioSource`."""
        data, _ = _read_member(str(self.source), self.key)
        in_memory = AudioSource("memory", self.channels, data)
        return np.asarray(in_memory.load_audio(offset, duration, force_opus_sampling_rate))


class _Member(NamedTuple):
    offset: int
    size: int
    suffix: str


def _read_member(tar: str, key: str) -> tuple[bytes, str]:
    """The bytes of a member, and what its name ends with."""
    status = Path(tar).stat()
    member = _members(tar, status.st_size, status.st_mtime_ns).get(key)
    if member is None:
        raise ValueError(f"{tar} holds nothing of {key}")
    with Path(tar).open("rb") as stream:
        stream.seek(member.offset)
        data = stream.read(member.size)
    if len(data) < member.size:
        raise ValueError(f"{tar} ends in the middle of {key}")
    return data, member.suffix


@lru_cache(maxsize=_TARS_REMEMBERED)
def _members(tar: str, size: int, changed: int) -> dict[str, _Member]:
    """Where in a tar file the data of each cut are.

    A file that was written anew has another size or time, so what was known of it is not used.
    """
    found = {}
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                name, dot, ending = member.name.rpartition(".")
                if dot + ending not in _NO_DATA:
                    found[name] = _Member(member.offset_data, member.size, dot + ending)
    except tarfile.TarError as error:
        raise ValueError(f"{tar} is damaged: {error}") from error
    return found
