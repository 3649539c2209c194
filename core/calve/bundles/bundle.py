"""The bundle: a directory that a client can open, with a manifest for calve."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from calve.common.files import atomic_file
from calve.common.inputs import check_inside, check_not_placeholder, parse_json, read_text
from calve.common.paths import check_native_path
from calve.common.printable import json_text
from calve.data.tokens import SymbolTable
from calve.errors import BundleError, ConfigError, PluginError
from calve.protocols import OfflineSession, StreamingSession
from calve.protocols.bundles import BundleManifest, FileRecord

__all__ = [
    "GOLDEN_FILE",
    "MANIFEST_FILE",
    "TOKENS_FILE",
    "Bundle",
    "read_manifest",
]

MANIFEST_FILE = "bundle.json"
TOKENS_FILE = "tokens.txt"
GOLDEN_FILE = "golden.npz"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: a directory and its manifest.

    Attributes:
      path: The directory.
      manifest: The content of ``bundle.json``.
    """

    path: Path
    manifest: BundleManifest

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Bundle:
        """Read the manifest and check that all its files exist with the right size.

        Contents are not hashed; `verify_files` does that.

        Raises:
          BundleError: if the directory is missing, is not a bundle, or is incomplete.
        """
        bundle = cls(Path(path), read_manifest(Path(path)))
        for name, record in bundle.manifest.files.items():
            file = bundle.path / name
            check_inside(file, bundle.path, "file", BundleError)
            if not _is_file(file):
                raise _damaged(f"{name} is missing from the bundle", bundle.path)
            if (size := file.stat().st_size) != record.size:
                check_not_placeholder(file, "file", BundleError)
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
        """Check that the bundle is for streaming.

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

    def open_streaming_session(self, *, num_threads: int = 1) -> StreamingSession:
        """Load the networks with the runtime of the bundle's format, for streaming.

        Raises:
          PluginError: if the runtime is not installed.
          BundleError: if it cannot load the networks, or the bundle is for whole utterances.
        """
        self.check_streaming()
        session: StreamingSession = self._open(num_threads)
        return session

    def open_offline_session(self, *, num_threads: int = 1) -> OfflineSession:
        """Load the networks with the runtime of the bundle's format, for whole utterances.

        Raises:
          PluginError: if the runtime is not installed, or is not for whole utterances.
          BundleError: if it cannot load the networks, or the bundle streams.
        """
        if self.manifest.streaming:
            raise BundleError(
                "the bundle streams and cannot decode whole utterances",
                where=self.path,
                fix="export the model with `--streaming-model 0`",
            )
        session = self._open(num_threads)
        if not isinstance(session, OfflineSession):
            raise PluginError(
                f"the runtime {self.manifest.runtime} cannot decode whole utterances",
                where=self.path,
                fix="its driver must open such a bundle as an OfflineSession",
            )
        return session

    def open_session(self, *, num_threads: int = 1) -> StreamingSession | OfflineSession:
        """Call `open_streaming_session` or `open_offline_session`, depending on the bundle."""
        if self.manifest.streaming:
            return self.open_streaming_session(num_threads=num_threads)
        return self.open_offline_session(num_threads=num_threads)

    def verify_files(self) -> None:
        """Hash every file.

        Raises:
          BundleError: names the files that have changed, or a file that cannot be read.
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
        from calve.registry.discovery import load_driver

        if num_threads < 1:
            raise ConfigError(f"{num_threads} threads cannot run a model; give at least 1")
        check_native_path(self.path, BundleError)
        driver = load_driver("calve.runtimes", self.manifest.runtime)
        return driver.open(self, num_threads=num_threads)


def write_manifest(folder: Path, manifest: BundleManifest) -> None:
    """Write ``bundle.json``, the last file of a bundle, atomically."""
    text = json_text(manifest.to_json(), indent=2)
    with atomic_file(folder / MANIFEST_FILE) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Return the record of every file in a bundle's directory except the manifest."""
    files = (file for file in folder.rglob("*") if file.is_file())
    records = {file.relative_to(folder).as_posix(): FileRecord.of(file) for file in files}
    records.pop(MANIFEST_FILE, None)
    return records


def read_manifest(path: Path) -> BundleManifest:
    """Read ``bundle.json`` only; `Bundle.open` also checks the files that it names.

    Raises:
      BundleError: if the directory is missing, is no bundle, or the manifest is malformed.
    """
    if not path.is_dir():
        what = "is not a directory" if path.exists() else "does not exist"
        raise BundleError(
            f"the bundle {what}", where=path, fix="make one with `calve export RECIPE --output DIR`"
        )
    file = path / MANIFEST_FILE
    if not os.path.lexists(file):
        raise BundleError(
            f"the directory is not a bundle: it has no {MANIFEST_FILE}",
            where=path,
            fix="make one with `calve export RECIPE --output DIR`",
        )
    check_inside(file, path, "manifest", BundleError)
    check_folder(path)
    text = read_text(file, "manifest", BundleError)
    try:
        values = parse_json(text)
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        return BundleManifest.from_json(values)
    except ValueError as error:
        raise _damaged(f"the manifest is not valid JSON: {error}", file) from error
    except BundleError as error:
        raise BundleError(
            f"cannot use the manifest: {error.what}",
            where=file,
            fix=error.fix or "export the bundle again",
        ) from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False


def check_folder(path: Path) -> None:
    """Reject a directory with a link that leads out of it.

    Raises:
      BundleError: naming the link.
    """
    for file in path.iterdir():
        if file.is_symlink():
            check_inside(file, path, "file", BundleError)


def _damaged(what: str, where: object) -> BundleError:
    return BundleError(what, where=where, fix="copy or export the bundle again")
