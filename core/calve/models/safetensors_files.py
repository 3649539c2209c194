"""Reads and writes weights in the format safetensors, which contains no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calve.common.inputs import parse_json
from calve.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["SUFFIX", "is_safetensors", "read_safetensors", "write_safetensors"]

SUFFIX = ".safetensors"
_LARGEST_HEADER = 100_000_000
"""Bytes; the format's own limit."""


def is_safetensors(path: Path) -> bool:
    """Whether a file starts as the format does: the length of a header, and the header in JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return (
        len(start) == 9
        and start[8:] == b"{"
        and int.from_bytes(start[:8], "little") <= _LARGEST_HEADER
    )


def read_safetensors(path: Path) -> dict[str, Any]:
    """A checkpoint as `read_checkpoint` returns it: "model", and training parameters if there are.

    The training parameters are the texts of the file's metadata; one that is JSON becomes its
    value, as `write_safetensors` writes it.

    Raises:
      CheckpointError: if the file is damaged.
      OSError: if the system cannot read it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            model = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            "this safetensors file is damaged or incomplete",
            where=path,
            fix=f"copy or download it again and compare the size; safetensors says: {error}",
        ) from error
    entries = {key: _value(text) for key, text in metadata.items() if key != "model"}
    return {**entries, "model": model}


def write_safetensors(
    path: Path, state_dict: Mapping[str, torch.Tensor], params: Mapping[str, Any]
) -> None:
    """Write weights, and the training parameters that JSON can say as texts of the metadata.

    Raises:
      OSError: if the disk is full or cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    metadata = {key: json.dumps(value, default=str) for key, value in params.items()}
    # Tensors that share memory are two tensors in this format.
    tensors = {key: tensor.detach().clone().contiguous() for key, tensor in state_dict.items()}
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(None, str(error), str(path)) from error


def _value(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text
