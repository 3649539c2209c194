"""Parts of a prepared corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from calve.common.files import file_sha256
from calve.data.utterances import Utterance, reading
from calve.errors import DataError
from calve.registry.catalog import registry

__all__ = ["Split", "file_stamp", "read_utterances"]


@dataclass(frozen=True)
class Split:
    """A part of a prepared corpus."""

    corpus: str
    data_dir: Path
    name: str

    def utterances(self) -> Sequence[Utterance]:
        """Return the utterances; each process reads the manifests once."""
        return self._utterances

    @cached_property
    def _utterances(self) -> Sequence[Utterance]:
        return read_utterances(self.corpus, self.data_dir, self.name)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the utterances, whose readers cannot be pickled."""
        return asdict(self)


def read_utterances(corpus: str, data_dir: Path, split: str) -> list[Utterance]:
    """Read the utterances of a split of a prepared corpus, by name.

    Raises:
      DataError: if the corpus has no such split, or it cannot be read or is empty, or two
        utterances share a name.
      PluginError: if no plugin provides the corpus.
    """
    dataset = registry().datasets.get(corpus)
    if dataset.splits and split not in dataset.splits:
        raise DataError(
            f"corpus {corpus} has no split {split!r}", fix=f"it has {', '.join(dataset.splits)}"
        )
    with reading(f"utterances of split {split}", DataError, data_dir):
        utterances: list[Utterance] = list(dataset.utterances.load()(data_dir, split))
    if not utterances:
        raise DataError(f"split {split} of corpus {corpus} is empty", where=data_dir)
    utterances.sort(key=lambda utterance: utterance.name)
    for first, second in pairwise(utterances):
        if first.name == second.name:
            raise DataError(
                f"two utterances of split {split} are called {first.name}", where=data_dir
            )
    return utterances


def file_stamp(path: Path) -> list[str]:
    """Return name and SHA-256 of a file, to detect changes.

    Times do not tell: a copy, an archive or a clock that is set gives new content an old time.

    Raises:
      DataError: if it cannot be read.
    """
    try:
        status = path.stat()
        # The jobs of a sweep ask again and again; nothing but a change sets the ctime.
        return [path.name, _digest(path, status.st_ino, status.st_ctime_ns)]
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", where=path) from error


@lru_cache
def _digest(path: Path, *state: int) -> str:
    return file_sha256(path)
