"""The options of ``calve prepare wav-folder``; imported for ``--help``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class WavFolderOptions:
    """Where the recordings are, and where the prepared corpus goes."""

    root: Path = field(metadata={"help": "Folder of WAV files with an utterances.csv."})
    data_dir: Path = field(default=Path("data/wav-folder"), metadata={"help": "Where to write."})
