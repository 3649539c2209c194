"""The metadata of a bundle for the clients of its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from calve.bundles.bundle import (
    MANIFEST_FILE,
    check_folder,
    read_manifest,
    write_manifest,
)
from calve.common.config import resolve
from calve.errors import BundleError, ConfigError
from calve.protocols import MetadataStore
from calve.protocols.bundles import BundleManifest, FileRecord
from calve.registry.catalog import registry
from calve.registry.specs import ExporterSpec

__all__ = ["MetadataTable", "bundle_exporter", "read_metadata", "write_metadata"]

MetadataTable = Mapping[str, int | str]
"""The metadata of a bundle by name, as its runtime stores them."""


def bundle_exporter(bundle_dir: Path) -> ExporterSpec:
    """Return the export format of a directory, which calve need not have written.

    Raises:
      BundleError: if no registered format recognizes it.
    """
    if (bundle_dir / MANIFEST_FILE).is_file():
        return registry().exporters.get(read_manifest(bundle_dir).format)
    if not bundle_dir.is_dir():
        what = "is not a directory" if bundle_dir.exists() else "does not exist"
        raise BundleError(f"the bundle {what}", where=bundle_dir)
    check_folder(bundle_dir)
    for exporter in registry().exporters:
        if exporter.metadata is not None and _store(exporter).recognizes(bundle_dir):
            return exporter
    raise BundleError(
        "the directory holds no model of a known format",
        where=bundle_dir,
        fix=f"known formats are {', '.join(registry().exporters.names())}",
    )


def read_metadata(bundle_dir: Path) -> MetadataTable | None:
    """Return the stamped table; None if the model is not stamped.

    Raises:
      BundleError: if the directory is no bundle or its files cannot be read.
    """
    return _store(bundle_exporter(bundle_dir)).read(bundle_dir)


def write_metadata(
    bundle_dir: Path, changes: Mapping[str, int | str] | None = None
) -> MetadataTable:
    """Stamp the table of the bundle's recipe and update the manifest.

    Without a manifest the table is inferred from the model's own files.

    Args:
      bundle_dir: The directory.
      changes: Values that replace or complete the table.

    Returns:
      The stamped table.

    Raises:
      BundleError: if the directory is no bundle or its files cannot be read.
      ConfigError: if the values are unknown, or one cannot be stamped.
    """
    exporter = bundle_exporter(bundle_dir)
    store = _store(exporter)
    marked = (bundle_dir / MANIFEST_FILE).is_file()
    manifest = read_manifest(bundle_dir) if marked else None
    known = store.infer(bundle_dir) if manifest is None else _recipe_table(manifest)
    table = {**(known or {}), **(changes or {})}
    if not table:
        raise ConfigError(
            "the metadata cannot be inferred from the model's files",
            where=bundle_dir,
            fix="give each value: --set KEY=VALUE",
        )
    if manifest is None:
        store.write(bundle_dir, table)
        return table
    before = _states(bundle_dir)
    store.write(bundle_dir, table)
    # Files that were damaged or added before must not become valid now.
    changed = dict(_states(bundle_dir).items() - before.items())
    written = {name: FileRecord.of(bundle_dir / name) for name in changed}
    write_manifest(bundle_dir, replace(manifest, metadata=table, files=manifest.files | written))
    return table


def _states(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What changes when a file is written, by its name; hashing gigabytes takes minutes."""
    states = {}
    for file in folder.rglob("*"):
        if file.is_file() and file.name != MANIFEST_FILE:
            status = file.stat()
            state = (status.st_ino, status.st_size, status.st_mtime_ns)
            states[file.relative_to(folder).as_posix()] = state
    return states


def _recipe_table(manifest: BundleManifest) -> MetadataTable:
    encoder = registry().encoders.get(manifest.encoder)
    writer = registry().metadata_writers.get((manifest.encoder, manifest.format))
    config = resolve(encoder.config.load(), manifest.config.get("encoder", {}))
    table: MetadataTable = writer.table.load()(config, manifest.geometry)
    return table


def _store(exporter: ExporterSpec) -> MetadataStore:
    if exporter.metadata is None:
        raise ConfigError(f"bundles of the format {exporter.format} carry no metadata")
    store: MetadataStore = exporter.metadata.load()
    return store
