"""The key/value table in an ONNX file, by which sherpa-onnx identifies the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from calve.common.files import atomic_file
from calve.common.paths import visible_files
from calve_onnx.external_data import check_external_data, read_model
from calve_onnx.layout import find_network
from calve_onnx.network import OnnxNetwork

__all__ = ["stamp", "store"]


class OnnxMetadataStore:
    """A `calve.protocols.MetadataStore` for the encoder of ONNX bundles."""

    def recognizes(self, bundle_dir: Path) -> bool:
        """Whether the directory holds an ONNX encoder."""
        return any(visible_files(bundle_dir, "encoder*.onnx"))

    def read(self, bundle_dir: Path) -> dict[str, int | str] | None:
        """The encoder's table, or None if it has none."""
        stored = OnnxNetwork(find_network(bundle_dir, "encoder")).metadata
        return {key: _value(text) for key, text in stored.items()} or None

    def write(self, bundle_dir: Path, table: Mapping[str, int | str]) -> None:
        """Stamp the encoder, replacing any other table."""
        stamp(find_network(bundle_dir, "encoder"), table)

    def infer(self, bundle_dir: Path) -> dict[str, int | str] | None:
        """None: a graph does not tell which of sherpa-onnx's model types it is."""
        return None


store = OnnxMetadataStore()


def stamp(path: Path, table: Mapping[str, int | str]) -> None:
    """Put a table into an ONNX file, which is replaced atomically.

    Raises:
      PluginError: if the package onnx, which only writing needs, is not installed.
      BundleError: if the file holds no network.
    """
    # External data stay where they are: the file goes on naming them.
    check_external_data(path)
    model = read_model(path)
    import onnx

    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: str(value) for key, value in table.items()})
    with atomic_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def _value(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
