"""The manifest of a bundle, and the interface of an opened bundle for drivers and quantizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from calve.common.config import resolve
from calve.common.files import file_sha256
from calve.common.printable import shortened
from calve.common.ranges import Range, check_ranges
from calve.data.features import FeatureConfig
from calve.data.geometry import StreamingGeometry
from calve.data.tokens import SymbolTable
from calve.errors import BundleError, CalveError, ConfigError

__all__ = ["FORMAT_VERSION", "BundleManifest", "FileRecord", "OpenedBundle"]

FORMAT_VERSION = 1

_LONGEST_NAME = 255
_LONGEST_PATH = 1024


@dataclass(frozen=True)
class FileRecord:
    """Hash and size of a file of the bundle."""

    sha256: str
    size: int = field(metadata={"range": Range(0, 2**63 - 1)})

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
      geometry: Streaming geometry of the encoder.
      tail_padding_frames: Silent feature frames appended to every recording that is streamed.
      features: Feature configuration of the training data.
      blank_id: Id of the blank symbol.
      unk_id: Id of ``<unk>``, which is never written out; None if there is none.
      context_size: Number of symbols in the context of the decoder.
      vocab_size: Number of symbols that the joiner scores.
      precision: "fp32", "fp16", "int8" or a quantizer's scheme, by network.
      parameters: Parameter counts, by network and in total.
      tools: Versions of the tools that made the bundle, by name.
      metadata: The metadata table stamped in for the format's client.
      parity: Agreement with torch, as `calve.exporting.parity.ParityReport.to_json` writes it.
      streaming: Whether the networks run step by step; otherwise on whole utterances.
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
    tail_padding_frames: int = field(metadata={"range": Range(0, 10_000)})
    features: FeatureConfig
    blank_id: int = field(metadata={"range": Range(0, 999_999)})
    unk_id: int | None = field(metadata={"range": Range(0, 999_999)})
    context_size: int = field(metadata={"range": Range(1, 64)})
    vocab_size: int = field(metadata={"range": Range(1, 1_000_000)})
    precision: dict[str, str]
    parameters: dict[str, int] = field(metadata={"range": Range(0, 10**12)})
    tools: dict[str, str]
    metadata: dict[str, int | str] = field(metadata={"range": Range(-(2**63), 2**63 - 1)})
    parity: dict[str, Any]
    streaming: bool = True
    steps: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        check_ranges(self)
        for name in ("blank_id", "unk_id"):
            symbol = getattr(self, name)
            if symbol is not None and symbol >= self.vocab_size:
                raise ConfigError(
                    f"{name} is {symbol}; the ids of {self.vocab_size} symbols end before it"
                )

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
          BundleError: if a key is missing, unknown or has an invalid value, or if
            the manifest was written by a newer calve.
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
    """The entries of a manifest that are dataclasses themselves."""
    features = dict(values["features"])
    fingerprint = features.pop("fingerprint")
    config = resolve(FeatureConfig, features)
    if config.fingerprint != fingerprint:
        raise ValueError("the feature configuration does not match its fingerprint")
    return {
        "features": config,
        "geometry": resolve(StreamingGeometry, values["geometry"]),
        "files": {
            _checked_name(name): resolve(FileRecord, one) for name, one in values["files"].items()
        },
    }


def _checked_name(name: str) -> str:
    """The name of a file inside the bundle, in its shortest spelling.

    Raises:
      ValueError: if it is absolute, leads elsewhere, or can be no file's name.
    """
    parts = name.split("/")
    if (
        any(part in ("", ".", "..") for part in parts)
        or "\0" in name
        or any(len(part) > _LONGEST_NAME for part in parts)
        or len(name) > _LONGEST_PATH
    ):
        raise ValueError(f"{shortened(name)} is not the name of a file inside the bundle")
    return name


class OpenedBundle(Protocol):
    """Interface of an opened bundle; `calve.bundles.bundle.Bundle` implements it.

    Attributes:
      path: The directory.
      manifest: The content of ``bundle.json``.
      symbols: The symbol table, as long as the joiner's output.
    """

    @property
    def path(self) -> Path: ...

    @property
    def manifest(self) -> BundleManifest: ...

    @property
    def symbols(self) -> SymbolTable: ...
