"""File names, and reading and writing of TorchScript networks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from calve.api import BundleError
from calve.common.exceptions import describe
from calve.common.inputs import check_not_placeholder
from calve.common.trust import trusts_files
from calve_torchscript.scanning import code_problem

__all__ = [
    "MODEL_FILE",
    "NETWORKS",
    "WEIGHTS_FILE",
    "check_code",
    "load_networks",
    "network_files",
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


def network_files(bundle_dir: Path) -> list[Path]:
    """The one file or the three files of the networks; some may be missing."""
    if (bundle_dir / MODEL_FILE).is_file():
        return [bundle_dir / MODEL_FILE]
    return [network_path(bundle_dir, name) for name in NETWORKS]


def load_networks(bundle_dir: Path) -> dict[str, Any]:
    """Encoder, decoder and joiner by name, from one file or from three.

    Raises:
      BundleError: if a file is missing, does more than compute (`check_code`), or torch cannot load
        it.
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


def check_code(path: Path) -> None:
    """Refuse a file whose code does more than compute, unless the user trusts it.

    Raises:
      BundleError: naming what it does.
    """
    problem = None if trusts_files() else code_problem(present(path))
    if problem is not None:
        raise BundleError(
            f"this TorchScript file is not loaded, because its code may do more than compute: "
            f"{problem}",
            where=path,
            fix="export the model yourself, or give --trust if you trust whoever made the file: "
            "its code then runs with your permissions",
        )


def _load(path: Path) -> Any:
    check_code(path)
    found = present(path)
    try:
        return torch.jit.load(found, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    # What torch raises for a damaged archive has no common base: IndexError, for example.
    except Exception as error:
        first_line = describe(error).strip().partition("\n")[0]
        raise BundleError(
            f"torch {torch.__version__} cannot load the file: {first_line}",
            where=path,
            fix="copy or export the bundle again",
        ) from error
