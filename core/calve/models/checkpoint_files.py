"""Reads and writes checkpoint files in icefall's format without executing their code.

A checkpoint is a dictionary: ``model`` (a state_dict), ``model_avg`` (the running average of
training, optional), ``optimizer``, ``scheduler``, ``grad_scaler``, ``sampler``, and the training
parameters as further entries. If only the model is needed, a bare state_dict, a Lightning
checkpoint or a safetensors file is accepted too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol

from calve.common.files import atomic_file, file_sha256
from calve.common.inputs import check_input
from calve.errors import CheckpointError
from calve.models.safe_unpickling import read_pickled
from calve.models.safetensors_files import (
    SUFFIX,
    is_safetensors,
    read_safetensors,
    write_safetensors,
)
from calve.models.state_dicts import checked_model_state

if TYPE_CHECKING:
    import torch

__all__ = [
    "STATEFUL_ENTRIES",
    "HasState",
    "checkpoint_sha256",
    "model_state",
    "plain_entries",
    "read_checkpoint",
    "save_checkpoint",
    "save_model",
]

STATEFUL_ENTRIES = (
    *("model", "model_avg", "optimizer", "scheduler", "grad_scaler", "sampler"),
    "rng",
    *("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops"),
)
"""Entries that hold some object's state; all others are training parameters. ``rng``, the random
generators, is calve's own; the last line is Lightning's."""

_UNSAFE_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


class HasState(Protocol):
    """Anything with a ``state_dict``: a module, optimizer, scheduler, batch loader."""

    def state_dict(self) -> Mapping[str, Any]: ...


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read everything in a checkpoint file, with tensors on the CPU and mapped from the file.

    Tensors, numbers, text, containers, paths, dates and Namespaces are read
    (`calve.models.safe_unpickling`); a file that needs code to be run is rejected before any of it
    runs. Tensors of a mapped file are private copies: changing them does not change the file.

    Raises:
      CheckpointError: if the file is missing, truncated, unsafe, or no checkpoint.
    """
    path = Path(path)
    _check_readable(path)
    content = _load_safely(path)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"this file holds a {type(content).__name__}, not a checkpoint", where=path
        )
    return content


def checkpoint_sha256(path: Path) -> str:
    """Return the SHA-256 of a checkpoint file, in hexadecimal.

    Raises:
      CheckpointError: if the file cannot be read.
    """
    with _reading(path):
        return file_sha256(path)


def model_state(checkpoint: Mapping[str, Any], path: Path | str) -> dict[str, torch.Tensor]:
    """Return the model's state_dict in a checkpoint, with the recipe's names of the entries.

    Prefixes of wrappers are removed from the names: ``module.`` of distributed training,
    ``_orig_mod.`` of ``torch.compile``, ``model.`` of Lightning.

    Args:
      checkpoint: The result of `read_checkpoint`.
      path: The file, for messages.

    Raises:
      CheckpointError: if there is none, or a tensor in it cannot be a weight.
    """
    state = checkpoint.get("model", checkpoint.get("state_dict", checkpoint))
    if not _is_state_dict(state):
        names = ", ".join(map(str, list(checkpoint)[:8])) or "nothing"
        raise CheckpointError(
            "this file holds no model",
            where=path,
            fix=f"an icefall checkpoint has an entry 'model'; this one has {names}",
        )
    return checked_model_state(state, path)


def plain_entries(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training parameters in a checkpoint, without tensors and states of objects."""
    import torch

    return {
        key: value
        for key, value in checkpoint.items()
        if key not in STATEFUL_ENTRIES and not isinstance(value, torch.Tensor)
    }


def save_checkpoint(
    path: Path | str,
    *,
    model: HasState,
    model_avg: HasState | None = None,
    optimizer: HasState | None = None,
    scheduler: HasState | None = None,
    grad_scaler: HasState | None = None,
    sampler: HasState | None = None,
    params: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint for icefall and calve; the file is written whole or not at all.

    Args:
      path: The file; an older one is replaced.
      model_avg: The running average of the model, saved in float32.
      params: Training parameters; paths among them are saved as strings.

    Raises:
      CheckpointError: if one of them has the name of a state, which it would replace.
      CalveError: if the disk is full or cannot be written.
    """
    content: dict[str, Any] = {
        "model": model.state_dict(),
        "optimizer": _state(optimizer),
        "scheduler": _state(scheduler),
        "grad_scaler": _state(grad_scaler),
        "sampler": _state(sampler),
    }
    if model_avg is not None:
        content["model_avg"] = {
            key: value.float() if value.is_floating_point() else value
            for key, value in model_avg.state_dict().items()
        }
    _write(path, content, params or {})


def save_model(
    path: Path | str,
    state_dict: Mapping[str, torch.Tensor],
    params: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write a model like icefall's ``pretrained.pt``: ``model`` and the training parameters.

    A ``path`` that ends in ``.safetensors`` is written in that format.

    Raises:
      ConfigError: if ``path`` exists and ``overwrite`` is false.
      CalveError: if the disk is full or cannot be written.
    """
    if Path(path).suffix == SUFFIX:
        with atomic_file(path, overwrite=overwrite) as temporary:
            write_safetensors(temporary, state_dict, params)
        return
    _write(path, {"model": dict(state_dict)}, params, overwrite=overwrite)


def _write(
    path: Path | str,
    content: dict[str, Any],
    params: Mapping[str, Any],
    *,
    overwrite: bool = True,
) -> None:
    import torch

    taken = content.keys() & params.keys()
    if taken:
        raise CheckpointError(
            f"a training parameter has the name of a state: {min(taken)}", where=path
        )
    for key, value in params.items():
        content[key] = str(value) if isinstance(value, PurePath) else value
    with (
        atomic_file(path, overwrite=overwrite) as temporary,
        temporary.open("wb") as file,
    ):
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch's writer replaces the OSError of a full disk with its own error.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def _state(holder: HasState | None) -> Mapping[str, Any] | None:
    return None if holder is None else holder.state_dict()


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise CheckpointError(
            "this is a folder, not a checkpoint file",
            where=path,
            fix="name a file in it, or give the folder as --exp-dir with --epoch or --iter",
        )
    check_input(path, "checkpoint file", CheckpointError)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Convert a system error to one that names the checkpoint."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"cannot read the file: {reason}", where=path) from error


def _load_safely(path: Path) -> Any:
    try:
        with _reading(path):
            return read_safetensors(path) if is_safetensors(path) else read_pickled(path)
    except CheckpointError:
        raise
    # A damaged or hostile file can make the reader raise anything; the user needs one message.
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    message = str(error)
    if "TorchScript" in message:
        return CheckpointError(
            "this is a TorchScript model, not a checkpoint",
            where=path,
            fix="give the epoch-N.pt or pretrained.pt that it was exported from",
        )
    unsafe = _UNSAFE_GLOBAL.search(message)
    if unsafe is not None:
        return CheckpointError(
            f"this file is refused: reading it would run code ({unsafe.group(1)})",
            where=path,
            fix="a checkpoint may hold tensors, numbers, text, containers, paths, dates and "
            "Namespaces. If you trust the file, save its weights alone: "
            "torch.save({'model': torch.load(FILE, weights_only=False)['model']}, 'weights.pt')",
        )
    return CheckpointError(
        "this is no checkpoint, or only a part of one",
        where=path,
        fix="copy or download it again and compare the size; "
        f"torch says: {message.strip().splitlines()[0] if message.strip() else error!r}",
    )


def _is_state_dict(value: Any) -> bool:
    import torch

    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) for key in value)
        and all(isinstance(tensor, torch.Tensor) for tensor in value.values())
    )
