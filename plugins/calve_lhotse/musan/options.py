"""Options of ``calve prepare musan``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from calve_lhotse.stages.options import ExtractionOptions

__all__ = ["MusanOptions"]


@dataclass(frozen=True, kw_only=True)
class MusanOptions(ExtractionOptions):
    """Where MUSAN lies, and where its noise goes."""

    dl_dir: Path = field(metadata={"help": "Directory with the unpacked `musan`."})
    data_dir: Path = field(
        default=Path("data/musan"),
        metadata={
            "help": "Output directory; training looks beside the data directory of the corpus."
        },
    )
