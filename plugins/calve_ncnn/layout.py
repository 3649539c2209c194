"""File names in an ncnn bundle; they are icefall's, which sherpa-ncnn's users know."""

from __future__ import annotations

from pathlib import Path

__all__ = ["NETWORKS", "bin_path", "param_path"]

NETWORKS = ("encoder", "decoder", "joiner")


def param_path(bundle_dir: Path, network: str) -> Path:
    """The ``.param`` file of a network."""
    return bundle_dir / f"{network}_jit_trace-pnnx.ncnn.param"


def bin_path(bundle_dir: Path, network: str) -> Path:
    """The ``.bin`` file of a network."""
    return bundle_dir / f"{network}_jit_trace-pnnx.ncnn.bin"
