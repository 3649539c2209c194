"""The class name of the encoder, by which k2-fsa/sherpa identifies it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from calve.api import ConfigError
from calve_torchscript.layout import MODEL_FILE, load_networks, network_path

__all__ = ["CLASS_NAME", "store"]

CLASS_NAME = "class_name"


class ClassNameStore:
    """A `calve.protocols.MetadataStore`; a class is part of the code, so it is only read."""

    def recognizes(self, bundle_dir: Path) -> bool:
        """Whether the directory holds a compiled encoder under one of icefall's names."""
        files = (bundle_dir / MODEL_FILE, network_path(bundle_dir, "encoder"))
        return any(file.is_file() for file in files)

    def read(self, bundle_dir: Path) -> dict[str, int | str] | None:
        """The encoder's class."""
        return {CLASS_NAME: load_networks(bundle_dir)["encoder"].original_name}

    def infer(self, bundle_dir: Path) -> dict[str, int | str] | None:
        """What is there cannot be otherwise."""
        return self.read(bundle_dir)

    def write(self, bundle_dir: Path, table: Mapping[str, int | str]) -> None:
        """Refuse any other class than the one that is there."""
        if dict(table) != self.read(bundle_dir):
            raise ConfigError(
                "the encoder's class is part of its compiled code and cannot be rewritten",
                where=bundle_dir,
                fix="export the bundle again",
            )


store = ClassNameStore()
