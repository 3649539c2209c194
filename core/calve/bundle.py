"""The bundle: a directory that a device runtime opens as it is, with all that calve knows of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from calve.config import resolve
from calve.errors import BundleError, CalveError, ConfigError, PluginError
from calve.features import FeatureConfig
from calve.files import atomic_file, file_sha256
from calve.geometry import StreamingGeometry
from calve.protocols import OfflineSession, Session, StreamingSession
from calve.tokens import SymbolTable

__all__ = [
    "FLUSH_FRAMES",
    "FORMAT_VERSION",
    "GOLDEN_FILE",
    "MANIFEST_FILE",
    "TOKENS_FILE",
    "Bundle",
    "BundleManifest",
    "FileRecord",
    "open_bundle",
    "read_manifest",
    "tail_padding",
]

FORMAT_VERSION = 1
MANIFEST_FILE = "bundle.json"
TOKENS_FILE = "tokens.txt"
GOLDEN_FILE = "golden.npz"

FLUSH_FRAMES = 35
"""Silence after which a streaming transducer has said its last word; icefall's value."""


def tail_padding(geometry: StreamingGeometry) -> int:
    """Feature frames of silence to append so that the last words come out.

    The encoder sees ``overlap`` frames beyond what it has advanced over, and the transducer emits
    a symbol some frames late; both are made up for, in whole steps.
    """
    return math.ceil((geometry.overlap + FLUSH_FRAMES) / geometry.shift) * geometry.shift


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
      precision: "fp32", "fp16", "int8" or a quantiser's scheme, by network.
      parameters: Parameter counts, by network and in total.
      tools: Versions of what made the bundle, by name.
      metadata: The table stamped in for the format's real runtime.
      parity: Agreement with torch, as `calve.parity.ParityReport.to_json` writes it.
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


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: a directory and its manifest.

    Attributes:
      path: The directory.
      manifest: What ``bundle.json`` says.
    """

    path: Path
    manifest: BundleManifest

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Bundle:
        """Read the manifest and see that every file it names is there with its size.

        Contents are not hashed here; `verify_files` does that.

        Raises:
          BundleError: if the directory is missing, is no bundle, or is incomplete.
        """
        bundle = cls(Path(path), read_manifest(Path(path)))
        for name, record in bundle.manifest.files.items():
            file = bundle.path / name
            if not file.is_file():
                raise _damaged(f"{name} is missing from the bundle", bundle.path)
            if (size := file.stat().st_size) != record.size:
                raise _damaged(f"{name} has {size} bytes instead of {record.size}", bundle.path)
        return bundle

    @cached_property
    def symbols(self) -> SymbolTable:
        """The symbol table, as long as the joiner's output.

        Raises:
          TokensError: if ``tokens.txt`` cannot be read or does not fit.
        """
        return SymbolTable.read(self.path / TOKENS_FILE).for_vocabulary(self.manifest.vocab_size)

    @property
    def tail_seconds(self) -> float:
        """Seconds of silence appended to every recording."""
        milliseconds = self.manifest.tail_padding_frames * self.manifest.features.frame_shift_ms
        return milliseconds / 1000

    def check_streaming(self) -> None:
        """See that the bundle streams.

        Raises:
          BundleError: if it is for whole utterances.
        """
        if not self.manifest.streaming:
            raise BundleError(
                "the bundle is for whole utterances and cannot stream",
                where=self.path,
                fix="use `calve transcribe` or `calve decode --bundle`, or export a model that "
                "streams",
            )

    def runtime(self, *, num_threads: int = 1) -> StreamingSession:
        """Load the networks with the runtime of the bundle's format, to go step by step.

        Raises:
          PluginError: if the runtime is not installed.
          BundleError: if it cannot load the networks, or the bundle is for whole utterances.
        """
        self.check_streaming()
        session: StreamingSession = self._open(num_threads)
        return session

    def offline_runtime(self, *, num_threads: int = 1) -> OfflineSession:
        """Load the networks with the runtime of the bundle's format, to see whole utterances.

        Raises:
          PluginError: if the runtime is not installed, or is not for whole utterances.
          BundleError: if it cannot load the networks, or the bundle streams.
        """
        if self.manifest.streaming:
            raise BundleError(
                "the bundle streams and does not see whole utterances",
                where=self.path,
                fix="export the model with `--streaming-model 0`",
            )
        session = self._open(num_threads)
        if not isinstance(session, OfflineSession):
            raise PluginError(
                f"the runtime {self.manifest.runtime} does not see whole utterances",
                where=self.path,
                fix="its driver must open such a bundle as an OfflineSession",
            )
        return session

    def session(self, *, num_threads: int = 1) -> StreamingSession | OfflineSession:
        """`runtime` or `offline_runtime`, whichever the bundle is for."""
        if self.manifest.streaming:
            return self.runtime(num_threads=num_threads)
        return self.offline_runtime(num_threads=num_threads)

    def verify_files(self) -> None:
        """Hash every file.

        Raises:
          BundleError: naming the files that are not what was exported, or one that cannot be read.
        """
        try:
            changed = [
                name
                for name, record in self.manifest.files.items()
                if FileRecord.of(self.path / name) != record
            ]
        except OSError as error:
            raise _damaged(f"cannot read the bundle: {error.strerror}", error.filename) from error
        if changed:
            raise _damaged(f"changed since the export: {', '.join(changed)}", self.path)

    def _open(self, num_threads: int) -> Any:
        from calve.discovery import load_driver

        if num_threads < 1:
            raise ConfigError(f"{num_threads} threads cannot run a model; give at least 1")
        driver = load_driver("calve.runtimes", self.manifest.runtime)
        return driver.open(self, num_threads=num_threads)


def write_manifest(folder: Path, manifest: BundleManifest) -> None:
    """Write ``bundle.json``, the last file of a bundle, atomically."""
    text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False, default=fspath)
    with atomic_file(folder / MANIFEST_FILE) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def record_files(folder: Path) -> dict[str, FileRecord]:
    """The record of every file in a bundle's directory, the manifest excepted."""
    files = (file for file in folder.rglob("*") if file.is_file())
    records = {file.relative_to(folder).as_posix(): FileRecord.of(file) for file in files}
    records.pop(MANIFEST_FILE, None)
    return records


def open_bundle(path: str | PathLike[str], *, num_threads: int = 1) -> Session:
    """Open a bundle and load its networks.

    Args:
      path: The bundle's directory.
      num_threads: CPU threads that the runtime may use.

    Returns:
      A `calve.protocols.StreamingSession`; an `OfflineSession` if the bundle is for whole
      utterances.

    Raises:
      BundleError: if the bundle is missing, foreign or damaged.
    """
    return Bundle.open(path).session(num_threads=num_threads)


def read_manifest(path: Path) -> BundleManifest:
    """Read ``bundle.json`` alone; `Bundle.open` also looks at the files that it names.

    Raises:
      BundleError: if the directory is missing, is no bundle, or the manifest is malformed.
    """
    if not path.is_dir():
        what = "is not a directory" if path.exists() else "does not exist"
        raise BundleError(
            f"the bundle {what}", where=path, fix="make one with `calve export RECIPE --output DIR`"
        )
    file = path / MANIFEST_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        return BundleManifest.from_json(values)
    except FileNotFoundError:
        raise BundleError(
            f"the directory is not a bundle: it has no {MANIFEST_FILE}",
            where=path,
            fix="make one with `calve export RECIPE --output DIR`",
        ) from None
    except OSError as error:
        raise BundleError(f"cannot read the manifest: {error.strerror}", where=file) from error
    except ValueError as error:
        raise _damaged(f"the manifest is not valid JSON: {error}", file) from error
    except BundleError as error:
        raise BundleError(
            f"cannot use the manifest: {error.what}",
            where=file,
            fix=error.fix or "export the bundle again",
        ) from error


def _damaged(what: str, where: object) -> BundleError:
    return BundleError(what, where=where, fix="copy or export the bundle again")
