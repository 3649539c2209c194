"""Cuts from a position within an epoch, without reading the earlier ones."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.lazy import LazyIteratorMultiplexer
from lhotse.serialization import deserialize_item

from calve.common.inputs import parse_json
from calve_lhotse.reasons import cuts_explained
from calve_lhotse.sources import check_sources

__all__ = ["CutFiles", "read_section", "section_of"]

_MUX_SEED = 0

MakeCut: TypeAlias = Callable[[Cut, Path], Cut]
_MakeOfLine: TypeAlias = Callable[[bytes, Path], Cut]


@dataclass(frozen=True)
class CutFiles:
    """Cuts as lines of ``.jsonl.gz`` files, to be read one file after the other.

    Attributes:
      paths: The files.
      finish: Makes, of the cut that a line says and the path of its file, the one that is used.
      allow_commands: Whether sources may be commands and URLs; see `check_sources`.
    """

    paths: Sequence[Path]
    finish: MakeCut
    allow_commands: bool = False

    def __iter__(self) -> Iterator[tuple[bytes, Path, _MakeOfLine]]:
        make = partial(_make_cut, self.finish, self.allow_commands)
        for path in self.paths:
            with cuts_explained(path), gzip.open(path, "rb") as file:
                for line in file:
                    yield line, path, make

    @property
    def size(self) -> int:
        """Of the files, in bytes."""
        return sum(path.stat().st_size for path in self.paths)


def _make_cut(finish: MakeCut, allow_commands: bool, line: bytes, path: Path) -> Cut:
    with cuts_explained(path):
        entry = parse_json(line)
        name = entry.get("id") if isinstance(entry, dict) else None
        check_sources(entry, f"{path}, cut {name}", allow=allow_commands)
        return finish(deserialize_item(entry), path)


def section_of(cuts: Iterable[Cut], first: int = 0, count: int | None = None) -> CutSet:
    """The cuts from number ``first`` on, in memory; at most ``count``, all if that is None."""
    return CutSet.from_cuts(islice(cuts, first, _end(first, count)))


def read_section(parts: Sequence[CutFiles], first: int = 0, count: int | None = None) -> CutSet:
    """`section_of` the cuts of these parts, read anew whenever they are iterated over.

    The cuts of several parts take turns at random, always in the same order, and each part as
    often as its size asks for.
    """
    return CutSet(_Section(parts, first, _end(first, count)))


@dataclass(frozen=True)
class _Section:
    """Only lines of the section are made into cuts: it takes thirty times as long as reading."""

    parts: Sequence[CutFiles]
    first: int
    end: int | None

    def __iter__(self) -> Iterator[Cut]:
        lines: Iterable[tuple[bytes, Path, _MakeOfLine]] = self.parts[0]
        if len(self.parts) > 1:
            sizes = [part.size for part in self.parts]
            lines = LazyIteratorMultiplexer(*self.parts, weights=sizes, seed=_MUX_SEED)
        for line, path, make in islice(lines, self.first, self.end):
            yield make(line, path)


def _end(first: int, count: int | None) -> int | None:
    return None if count is None else first + count
