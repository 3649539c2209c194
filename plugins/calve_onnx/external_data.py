"""Weights that an ONNX file keeps in other files: they must lie beside it.

The file names them by a path, and ONNX's readers open whatever lies there: "../../.ssh/id_rsa", a
device, a link.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from calve.api import BundleError, PluginError
from calve.common.inputs import check_input, is_inside
from calve.common.printable import one_line, shortened

__all__ = ["check_external_data", "read_model"]


_LOCATION = b"location"
"""The key under which a tensor names its file."""

_BLOCK = 2**20


def read_model(path: Path) -> Any:
    """The protocol buffer of an ONNX file without its external data.

    Raises:
      PluginError: if the package onnx is not installed.
      BundleError: if the file holds no network.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise PluginError("onnx is not installed", fix="pip install 'calve[onnx]'") from error
    check_input(path, "network", BundleError)
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise _damaged(path) from error
    # To protobuf, an empty file is a model without anything in it.
    if not model.graph.node:
        raise _damaged(path)
    return model


def check_external_data(path: Path) -> None:
    """Check where the external data of an ONNX file lie.

    Raises:
      BundleError: if it cannot be read, or a tensor names a file that is not a regular file in the
        folder of ``path``.
      PluginError: if there are external data and the package onnx is not installed.
    """
    check_input(path, "network", BundleError)
    if not _may_have_external_data(path):
        return
    for tensor in _tensors(read_model(path)):
        for entry in tensor.external_data:
            if entry.key == "location":
                _check_location(path, entry.value)


def _may_have_external_data(path: Path) -> bool:
    """Whether the word stands in the file; parsing would take the memory of the whole model."""
    end = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            if _LOCATION in end + block:
                return True
            end = block[-len(_LOCATION) :]
    return False


def _check_location(path: Path, location: str) -> None:
    parts = PurePosixPath(location).parts
    problem = None
    if location.startswith("/") or "\\" in location or ".." in parts or "\0" in location:
        problem = "lies outside of its folder"
    else:
        place = path.parent / location
        try:
            if not is_inside(place, path.parent):
                problem = "is a link that leads out of its folder"
            elif not place.is_file():
                problem = "is not a file beside it"
        except (OSError, RuntimeError) as error:  # such as a link to itself, a name too long
            problem = f"cannot be found: {type(error).__name__}"
    if problem is not None:
        raise BundleError(
            f"the network keeps weights in {one_line(shortened(location))}, which {problem}",
            where=path,
            fix="export the bundle again",
        )


def _tensors(message: Any) -> Iterator[Any]:
    """All tensors in a protocol buffer, wherever they stand."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for one in value if _is_repeated(value) else [value]:
            if field.message_type.name == "TensorProto":
                yield one
            else:
                yield from _tensors(one)


def _is_repeated(value: Any) -> bool:
    return not hasattr(value, "ListFields")


def _damaged(path: Path) -> BundleError:
    return BundleError(
        "the file holds no ONNX network", where=path, fix="copy or export the bundle again"
    )
