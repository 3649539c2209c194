"""File names inside an ONNX bundle: ``encoder.onnx``, or ``encoder.int8.onnx`` and so on."""

from __future__ import annotations

from pathlib import Path

from calve.api import BundleError

__all__ = ["NETWORKS", "find_network", "new_network_path"]

NETWORKS = ("encoder", "decoder", "joiner")


def new_network_path(bundle_dir: Path, network: str, precision: str) -> Path:
    """Where to write a network; any precision but fp32 is part of its name."""
    word = "" if precision == "fp32" else f".{precision}"
    return bundle_dir / f"{network}{word}.onnx"


def find_network(bundle_dir: Path, network: str) -> Path:
    """The one file of a network, also under the longer names that icefall gives.

    Raises:
      BundleError: if there is none, or more than one.
    """
    found = sorted(bundle_dir.glob(f"{network}*.onnx"))
    if not found:
        raise BundleError(
            f"{network}*.onnx is missing", where=bundle_dir, fix="export the bundle again"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise BundleError(
            f"there are {len(found)} {network}s: {names}",
            where=bundle_dir,
            fix="keep one precision in the directory",
        )
    return found[0]
