"""The prepared corpus: ``utterances.jsonl``, one line for each utterance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from calve.api import DataError
from calve.data.audio import read_audio
from calve.data.utterances import Utterance

LIST_NAME = "utterances.jsonl"
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Row:
    """One utterance of the list.

    Attributes:
      name: Path of the recording in its folder.
      path: Absolute path of the recording.
      words: The words, separated by single spaces.
      split: "train", "valid" or "test".
      duration: Seconds.
    """

    name: str
    path: str
    words: str
    split: str
    duration: float

    def to_line(self) -> str:
        """The line that `read_rows` reads."""
        return json.dumps(asdict(self)) + "\n"


def read_rows(data_dir: Path) -> list[Row]:
    """All utterances of a prepared corpus.

    Raises:
      DataError: if it was not prepared, or the list is damaged.
    """
    path = Path(data_dir) / LIST_NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [Row(**json.loads(line)) for line in lines]
    except OSError as error:
        raise DataError(
            "the corpus has not been prepared here",
            where=path,
            fix="run `calve prepare wav-folder`, from stage 0 on",
        ) from error
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the list of utterances is damaged: {error}",
            where=path,
            fix="remove it, and run `calve prepare wav-folder` again",
        ) from error


def rows_of(data_dir: Path, split: str) -> list[Row]:
    """The utterances of one split.

    Raises:
      DataError: if the split does not exist or was not prepared.
    """
    if split not in SPLITS:
        raise DataError(f"there is no split {split!r}", fix=f"choose one of {', '.join(SPLITS)}")
    return [row for row in read_rows(data_dir) if row.split == split]


def utterances(data_dir: Path, split: str) -> Iterator[Utterance]:
    """What `calve.registry.specs.DatasetSpec.utterances` names; raises as `rows_of`."""
    for row in rows_of(data_dir, split):
        yield Utterance(row.name, row.words, row.duration, partial(read_audio, row.path))
