"""Options of ``calve prepare from-manifests``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from calve.api import ConfigError
from calve_lhotse.stages.options import PreparationOptions

__all__ = ["ManifestsOptions"]


@dataclass(frozen=True, kw_only=True)
class ManifestsOptions(PreparationOptions):
    """Where the manifests lie, and which parts they have."""

    manifest_dir: Path = field(
        metadata={
            "help": "Directory with NAME_recordings_PART.jsonl.gz and "
            "NAME_supervisions_PART.jsonl.gz from lhotse's recipes, or with "
            "NAME_cuts_PART.jsonl.gz."
        }
    )
    train: tuple[str, ...] = field(metadata={"help": "Parts to train on."})
    valid: tuple[str, ...] = field(metadata={"help": "Parts to validate on."})
    test: tuple[str, ...] = field(default=(), metadata={"help": "Further parts to prepare."})
    prefix: str | None = field(
        default=None,
        metadata={"help": "NAME of the manifests; required if the directory contains several."},
    )
    drop_tags: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Words to leave out of the transcripts, such as <unk>,[noise]; other tags "
            "are refused."
        },
    )
    data_dir: Path = field(
        default=Path("data/from-manifests"), metadata={"help": "Output directory."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("train", "valid"):
            if not getattr(self, name):
                raise ConfigError("no part is named", where=f"--{name}")
            if name in {*self.parts} - {*getattr(self, name)}:
                raise ConfigError(
                    f"a part is called {name}, but does not belong to --{name}",
                    fix="give its manifests another name",
                )
        for part, count in Counter(self.parts).items():
            if count > 1:
                raise ConfigError(
                    f"{part} is named {count} times",
                    where="--train, --valid, --test",
                    fix="a part is for one purpose only",
                )

    @property
    def parts(self) -> tuple[str, ...]:
        """All parts, in the order in which they are prepared."""
        return (*self.train, *self.valid, *self.test)
