"""The record that every bundle carries, and an opened bundle as drivers and quantizers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from calve.common.config import resolve
from calve.common.files import file_sha256
from calve.data.features import FeatureConfig
from calve.data.geometry import StreamingGeometry
from calve.data.tokens import SymbolTable
from calve.errors import BundleError, CalveError

__all__ = ["FORMAT_VERSION", "BundleManifest", "FileRecord", "OpenedBundle"]

FORMAT_VERSION = 1


@dataclass(frozen=True)
class FileRecord:
    """What a file of the bundle must be."""

    sha256: str
    size: int

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """The record of an existing file."""
        return cls(file_sha256(path), path.stat().st_size)


@dataclass(frozen=True)
class BundleManifest:
    """The content of ``bundle.json``.

    Attributes:
      format: The export format, as given to ``--format``.
      runtime: The driver in ``calve.runtimes`` that opens the bundle.
      recipe: Name of the recipe.
      encoder: Name of the registered encoder.
      config: The resolved configuration, by table ("encoder", "model").
      provenance: Where the weights come from: checkpoint files, their hashes, averaging.
      geometry: How the encoder walks over feature frames.
      tail_padding_frames: Silent feature frames appended to every recording that is streamed.
      features: What the networks were trained on.
      blank_id: Id of the blank symbol.
      unk_id: Id of ``<unk>``, which is never written out; None if there is none.
      context_size: Symbols that the decoder looks back at.
      vocab_size: Symbols that the joiner scores.
      precision: "fp32", "fp16", "int8" or a quantizer's scheme, by network.
      parameters: Parameter counts, by network and in total.
      tools: Versions of what made the bundle, by name.
      metadata: The table stamped in for the format's real runtime.
      parity: Agreement with torch, as `calve.exporting.parity.ParityReport.to_json` writes it.
      streaming: Whether the networks go step by step; otherwise they see whole utterances.
      steps: What each export step reported, by name.
      files: Every other file of the bundle, by name.
      format_version: Version of this record.
    """

    format: str
    runtime: str
    recipe: str
    encoder: str
    config: dict[str, dict[str, Any]]
    provenance: dict[str, Any]
    geometry: StreamingGeometry
    tail_padding_frames: int
    features: FeatureConfig
    blank_id: int
    unk_id: int | None
    context_size: int
    vocab_size: int
    precision: dict[str, str]
    parameters: dict[str, int]
    tools: dict[str, str]
    metadata: dict[str, int | str]
    parity: dict[str, Any]
    streaming: bool = True
    steps: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> dict[str, Any]:
        """The attributes by name, as `from_json` takes them."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["geometry"] = self.geometry.to_json()
        values["features"] = asdict(self.features) | {"fingerprint": self.features.fingerprint}
        values["files"] = {name: asdict(record) for name, record in sorted(self.files.items())}
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> BundleManifest:
        """Inverse of `to_json`.

        Raises:
          BundleError: if a key is missing, unknown or holds something else than it should, or
            the record was written by a newer calve.
        """
        version = values.get("format_version")
        if not isinstance(version, int) or version < 1:
            raise BundleError("it has no format_version, so calve did not write it")
        if version > FORMAT_VERSION:
            raise BundleError(
                f"it has format version {version}; this calve reads up to {FORMAT_VERSION}",
                fix="upgrade calve: pip install --upgrade calve",
            )
        try:
            return resolve(cls, {**values, **_parts(values)})
        except CalveError as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            raise BundleError(f"it is malformed: {what}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"it is malformed: {error}") from error


def _parts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those entries of a manifest that are records of their own."""
    features = dict(values["features"])
    fingerprint = features.pop("fingerprint")
    config = resolve(FeatureConfig, features)
    if config.fingerprint != fingerprint:
        raise ValueError("the feature configuration does not match its fingerprint")
    return {
        "features": config,
        "geometry": resolve(StreamingGeometry, values["geometry"]),
        "files": {name: resolve(FileRecord, one) for name, one in values["files"].items()},
    }


class OpenedBundle(Protocol):
    """An opened bundle, as `calve.bundles.bundle.Bundle` is one.

    Attributes:
      path: The directory.
      manifest: What ``bundle.json`` says.
      symbols: The symbol table, as long as the joiner's output.
    """

    @property
    def path(self) -> Path: ...

    @property
    def manifest(self) -> BundleManifest: ...

    @property
    def symbols(self) -> SymbolTable: ...
