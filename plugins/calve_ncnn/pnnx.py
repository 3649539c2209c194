"""pnnx, ncnn's converter from TorchScript, as a child process with error handling.

pnnx can segfault, hang, or print that something is not supported and exit with 0; what comes out
of here is either three files' worth of network that the installed ncnn knows, or an `ExportError`
with the end of pnnx's log.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from calve.api import ExportError
from calve.common.children import Child, Outcome, run_children
from calve_ncnn.operators import unsupported
from calve_ncnn.param import ParamFile

__all__ = ["Converted", "Traced", "convert", "find_pnnx", "pnnx_version"]

_GIB = 1 << 30
_COMPLAINTS = ("not supported", "unsupported", "unknown pnnx")
# Address space for the weights in several copies, next to what the libraries map.
_MEMORY_BASE, _MEMORY_FACTOR = 8 * _GIB, 16


@dataclass(frozen=True)
class Traced:
    """A traced network waiting for conversion.

    Attributes:
      name: Base name of its files.
      path: TorchScript file.
      shapes: Input shapes as pnnx writes them, for example ``[1,9,80]f32``; the shapes that the
        network was traced with, since pnnx refuses others.
      other_shapes: A second set, if some axes are free: pnnx freezes every axis that is the same
        in both.
    """

    name: str
    path: Path
    shapes: tuple[str, ...]
    other_shapes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Converted:
    """What pnnx made of one network.

    Attributes:
      param: The network.
      param_path: ``.param`` file.
      bin_path: ``.bin`` file.
      seconds: Wall time of pnnx.
    """

    name: str
    param: ParamFile
    param_path: Path
    bin_path: Path
    seconds: float


def find_pnnx() -> Path:
    """The binary inside the pip wheel, or else one on ``PATH``.

    Raises:
      ExportError: if there is none.
    """
    # The wheel's package is found, not imported: importing it imports torch.
    spec = importlib.util.find_spec("pnnx")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for name in ("pnnx", "pnnx.exe"):
            binary = Path(folder) / name
            if os.access(binary, os.X_OK) and binary.is_file():
                return binary
    on_path = shutil.which("pnnx")
    if on_path is None:
        raise ExportError(
            "the converter pnnx is not installed, or its wheel has no binary for this machine",
            fix="pip install --force-reinstall pnnx",
        )
    return Path(on_path)


def pnnx_version() -> str:
    """Version of the installed wheel, "unknown" without one."""
    try:
        return version("pnnx")
    except PackageNotFoundError:
        return "unknown"


def convert(
    networks: Sequence[Traced], folder: Path, *, fp16: bool, time_limit: float
) -> list[Converted]:
    """Convert networks side by side.

    Args:
      networks: What to convert; their names differ.
      folder: Scratch folder, filled with pnnx's files and logs.
      fp16: Whether weights are stored as float16.
      time_limit: Seconds that pnnx may take for each network.

    Raises:
      ExportError: if any of them fails, with the end of pnnx's log.
    """
    binary = find_pnnx()
    children = [_child(binary, network, folder, fp16, time_limit) for network in networks]
    try:
        outcomes = run_children(children)
    except OSError as error:
        raise ExportError(
            f"pnnx cannot be started: {error.strerror}",
            where=binary,
            fix="pip install --force-reinstall pnnx",
        ) from error
    return [_collect(outcome) for outcome in outcomes]


def _child(binary: Path, network: Traced, folder: Path, fp16: bool, time_limit: float) -> Child:
    own = folder.resolve() / network.name
    own.mkdir(parents=True, exist_ok=True)
    shapes = [f"inputshape={','.join(network.shapes)}"]
    if network.other_shapes:
        shapes.append(f"inputshape2={','.join(network.other_shapes)}")
    # Everything that pnnx writes is named, or it would write beside the input.
    names = {
        "pnnxparam": "pnnx.param",
        "pnnxbin": "pnnx.bin",
        "pnnxpy": "pnnx.py",
        "pnnxonnx": "pnnx.onnx",
        "ncnnparam": "ncnn.param",
        "ncnnbin": "ncnn.bin",
        "ncnnpy": "ncnn.py",
    }
    outputs = [f"{option}={own / name}" for option, name in names.items()]
    return Child(
        name=network.name,
        command=[str(binary), str(network.path.resolve()), *shapes, f"fp16={int(fp16)}", *outputs],
        folder=own,
        time_limit=time_limit,
        memory_limit=_MEMORY_BASE + _MEMORY_FACTOR * network.path.stat().st_size,
    )


def _collect(outcome: Outcome) -> Converted:
    name, folder = outcome.child.name, outcome.child.folder
    param_path, bin_path = folder / "ncnn.param", folder / "ncnn.bin"
    failure = outcome.failure
    if failure is None and not (param_path.is_file() and bin_path.is_file()):
        failure = "wrote no ncnn files"
    if failure is None and (complaint := _complaint(outcome.log)):
        failure = f"says {complaint!r}"
    if failure is not None:
        raise _error(outcome, f"pnnx {failure}")
    param = ParamFile.read(param_path)
    foreign = unsupported(param.layers, "ncnn")
    if foreign:
        kinds = ", ".join(sorted({layer.type for layer in foreign}))
        raise _error(outcome, f"pnnx left operators that ncnn does not have: {kinds}")
    return Converted(name, param, param_path, bin_path, outcome.seconds)


def _complaint(log: str) -> str | None:
    lines = (line.strip() for line in log.splitlines())
    return next((line for line in lines if any(word in line for word in _COMPLAINTS)), None)


def _error(outcome: Outcome, what: str) -> ExportError:
    return ExportError(
        f"{what}; the end of its log:\n{outcome.tail}",
        where=f"{outcome.child.name} network, pnnx {pnnx_version()}",
        fix="write the network with operators that ncnn has, or try another version of pnnx",
    )
