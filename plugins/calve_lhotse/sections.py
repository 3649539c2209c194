"""Cuts from a position within an epoch, without reading the earlier ones."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.lazy import LazyIteratorMultiplexer
from lhotse.serialization import deserialize_item

from calve.common.inputs import parse_json
from calve_lhotse.reasons import cuts_explained

__all__ = ["CutFiles", "read_section", "section_of"]

_MUX_SEED = 0

MakeCut: TypeAlias = Callable[[Cut, Path], Cut]


@dataclass(frozen=True)
class CutFiles:
    """Cuts as lines of ``.jsonl.gz`` files, to be read one file after the other.

    Attributes:
      paths: The files.
      finish: Makes, of the cut that a line says and the path of its file, the one that is used.
    """

    paths: Sequence[Path]
    finish: MakeCut

    def __iter__(self) -> Iterator[tuple[bytes, Path, MakeCut]]:
        for path in self.paths:
            with cuts_explained(path), gzip.open(path, "rb") as file:
                for line in file:
                    yield line, path, self.finish

    @property
    def size(self) -> int:
        """Of the files, in bytes."""
        return sum(path.stat().st_size for path in self.paths)


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
        lines: Iterable[tuple[bytes, Path, MakeCut]] = self.parts[0]
        if len(self.parts) > 1:
            sizes = [part.size for part in self.parts]
            lines = LazyIteratorMultiplexer(*self.parts, weights=sizes, seed=_MUX_SEED)
        for line, path, finish in islice(lines, self.first, self.end):
            with cuts_explained(path):
                cut = finish(deserialize_item(parse_json(line)), path)
            yield cut


def _end(first: int, count: int | None) -> int | None:
    return None if count is None else first + count
