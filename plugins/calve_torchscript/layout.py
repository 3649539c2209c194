"""File names, and reading and writing of TorchScript networks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from calve.api import BundleError
from calve.common.inputs import check_not_placeholder

__all__ = [
    "MODEL_FILE",
    "NETWORKS",
    "WEIGHTS_FILE",
    "load_networks",
    "network_path",
    "present",
    "save_module",
]

WEIGHTS_FILE = "pretrained.pt"
MODEL_FILE = "cpu_jit.pt"
NETWORKS = ("encoder", "decoder", "joiner")


def network_path(bundle_dir: Path, network: str) -> Path:
    """The file of one network, under icefall's name."""
    return bundle_dir / f"{network}_jit_trace.pt"


def present(path: Path) -> Path:
    """``path``, which is to be loaded.

    Raises:
      BundleError: if it is no file.
    """
    check_not_placeholder(path, "network", BundleError)
    if not path.is_file():
        raise BundleError("the file is missing", where=path, fix="export the bundle again")
    return path


def save_module(module: Any, path: Path) -> None:
    """Write a compiled module."""
    # Into memory first: torch's file writer aborts the process on a full disk.
    content = io.BytesIO()
    torch.jit.save(module, content)
    path.write_bytes(content.getbuffer())


def load_networks(bundle_dir: Path) -> dict[str, Any]:
    """Encoder, decoder and joiner by name, from one file or from three.

    Raises:
      BundleError: if a file is missing or torch cannot load it.
    """
    if (bundle_dir / MODEL_FILE).is_file():
        model = _load(bundle_dir / MODEL_FILE)
        missing = [name for name in NETWORKS if not hasattr(model, name)]
        if missing:
            raise BundleError(
                f"the model has no {' and no '.join(missing)}",
                where=bundle_dir / MODEL_FILE,
                fix="export a transducer",
            )
        return {name: getattr(model, name) for name in NETWORKS}
    return {name: _load(network_path(bundle_dir, name)) for name in NETWORKS}


def _load(path: Path) -> Any:
    try:
        return torch.jit.load(present(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise BundleError(
            f"torch {torch.__version__} cannot load the file: {str(error).strip().splitlines()[0]}",
            where=path,
            fix="copy or export the bundle again",
        ) from error
