"""Options of ``calve prepare librispeech``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from calve_lhotse.stages.options import PreparationOptions

__all__ = ["LibriSpeechOptions"]


@dataclass(frozen=True, kw_only=True)
class LibriSpeechOptions(PreparationOptions):
    """Where LibriSpeech lies, and how much of it to prepare."""

    dl_dir: Path = field(metadata={"help": "Directory with the unpacked `LibriSpeech`."})
    data_dir: Path = field(default=Path("data/librispeech"), metadata={"help": "Output directory."})
    full_libri: bool = field(
        default=True,
        metadata={"help": "Train on all 960 hours instead of only train-clean-100."},
    )
