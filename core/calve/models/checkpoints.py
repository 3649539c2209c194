"""Selection, loading and averaging of checkpoints by icefall's options.

Nothing here needs icefall or k2, and nothing in a checkpoint is executed; see
`calve.models.checkpoint_files` for the file format and `calve.models.averaging` for the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calve.common.config import option_name
from calve.common.inputs import check_input
from calve.common.paths import visible_files
from calve.common.suggest import did_you_mean
from calve.errors import CheckpointError, ConfigError
from calve.models.averaging import (
    average_checkpoints,
    average_checkpoints_with_averaged_model,
    checkpoint_number,
    find_checkpoints,
    mean_of_models,
    running_average_between,
)
from calve.models.checkpoint_files import (
    checkpoint_sha256,
    model_state,
    plain_entries,
    read_checkpoint,
    save_checkpoint,
)
from calve.models.state_dicts import check_finite

if TYPE_CHECKING:
    import torch

    from calve.registry.specs import PretrainedSpec

__all__ = [
    "BUILTIN_PREFIX",
    "CheckpointChoice",
    "LoadedCheckpoint",
    "average_checkpoints",
    "average_checkpoints_with_averaged_model",
    "builtin_checkpoint",
    "checkpoint_files",
    "checkpoints_there",
    "find_checkpoints",
    "load_state_dict",
    "no_checkpoint",
    "read_checkpoint",
    "save_checkpoint",
]

BUILTIN_PREFIX = "builtin:"

_LISTED = 10
"""Largest number of missing files in a message."""


@dataclass(frozen=True)
class CheckpointChoice:
    """The selected model. The fields are the options of the same names; None if not given.

    Attributes:
      checkpoint: One file, or ``builtin:NAME``; excludes all other fields.
      exp_dir: Folder of a training run; then ``epoch`` or ``iter`` is needed.
      epoch: Use ``epoch-{epoch}.pt`` as the last.
      iter: If positive, use the files ``checkpoint-N.pt`` with N up to this number and ignore
        ``epoch``.
      avg: Number of checkpoints, or of epochs, to average; 1 by default.
      use_averaged_model: Average over every batch in that range, from the running averages of the
        first and the last checkpoint, rather than over the saved models; needs one checkpoint
        more. False by default.
    """

    checkpoint: str | None = None
    exp_dir: Path | str | None = None
    epoch: int | None = None
    iter: int | None = None
    avg: int | None = None
    use_averaged_model: bool | None = None

    def __post_init__(self) -> None:
        if self.checkpoint is None and self.exp_dir is None:
            raise no_checkpoint()
        if self.checkpoint is not None:
            # An average over one checkpoint does not contradict a single file.
            others = [
                field.name
                for field in fields(self)[1:]
                if getattr(self, field.name) and (field.name, self.avg) != ("avg", 1)
            ]
            if others:
                flags = ", ".join(map(option_name, others))
                raise ConfigError(
                    f"--checkpoint selects one file and cannot be combined with {flags}",
                    fix="leave out one or the other",
                )
        if self.avg is not None and self.avg < 1:
            raise ConfigError(f"--avg is {self.avg}; it must be at least 1")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A model's weights and where they come from.

    Attributes:
      state_dict: Weights by icefall's names, on the CPU, in memory of their own.
      provenance: ``files`` (name and sha256 of each), ``averaging`` (in words), and ``builtin``
        if the checkpoint came with a package; plain data for ``bundle.json``.
      entries: The training parameters saved in the (last) checkpoint.
      source: The file, folder or ``builtin:NAME``, for messages.
    """

    state_dict: dict[str, torch.Tensor]
    provenance: dict[str, Any]
    entries: dict[str, Any]
    source: str


def no_checkpoint() -> ConfigError:
    """Return the error for a missing choice of a checkpoint."""
    return ConfigError(
        "no checkpoint was given",
        fix="give --checkpoint FILE, --checkpoint builtin:NAME, or --exp-dir with --epoch",
    )


def checkpoint_files(choice: CheckpointChoice) -> list[Path]:
    """Return the files that `load_state_dict` reads; for a running average the first and the last.

    Raises:
      ConfigError: if the choice is impossible.
      CheckpointError: if a file is missing.
    """
    if choice.checkpoint is None:
        return _chosen_files(choice)
    if choice.checkpoint.startswith(BUILTIN_PREFIX):
        with builtin_checkpoint(choice.checkpoint) as (_, path):
            return [path]
    return [Path(choice.checkpoint)]


def load_state_dict(choice: CheckpointChoice) -> LoadedCheckpoint:
    """Load the selected model, averaged if requested.

    Raises:
      ConfigError: if the choice is impossible.
      CheckpointError: if a file is missing or cannot be used, or weights are NaN or infinite.
    """
    if choice.checkpoint is None:
        return _from_training_run(choice)
    if not choice.checkpoint.startswith(BUILTIN_PREFIX):
        return _from_file(Path(choice.checkpoint))
    with builtin_checkpoint(choice.checkpoint) as (spec, path):
        loaded = _from_file(path)
    return LoadedCheckpoint(
        state_dict=loaded.state_dict,
        provenance={**loaded.provenance, "builtin": spec.name},
        entries=loaded.entries,
        source=choice.checkpoint,
    )


@contextmanager
def builtin_checkpoint(name: str) -> Iterator[tuple[PretrainedSpec, Path]]:
    """Return the spec and the file of a checkpoint that comes with a package.

    Args:
      name: With or without ``builtin:``.

    Raises:
      ConfigError: if no registered recipe has it.
    """
    from calve.registry.catalog import registry

    known = {spec.name: spec for recipe in registry().recipes for spec in recipe.pretrained}
    spec = known.get(name.removeprefix(BUILTIN_PREFIX))
    if spec is None:
        listed = [f"{BUILTIN_PREFIX}{known_name}" for known_name in known]
        raise ConfigError(
            f"there is no checkpoint {name!r}",
            fix=did_you_mean(name, listed) or f"there is {', '.join(listed) or 'none'}",
        )
    with spec.checkpoint.as_file() as path:
        yield spec, path


def _from_file(path: Path) -> LoadedCheckpoint:
    content = read_checkpoint(path)
    # Cloned, because overwriting a mapped file would crash the process later.
    state = {key: tensor.clone() for key, tensor in _finite_model(content, path).items()}
    return LoadedCheckpoint(
        state_dict=state,
        provenance=_provenance([path], "none"),
        entries=plain_entries(content),
        source=str(path),
    )


def _from_training_run(choice: CheckpointChoice) -> LoadedCheckpoint:
    files = _chosen_files(choice)
    if len(files) == 1:
        return _from_file(files[0])
    newest = max(files, key=checkpoint_number)
    entries: dict[str, Any] = {}

    def read(path: Path) -> tuple[Path, dict[str, Any]]:
        content = read_checkpoint(path)
        if path == newest:
            entries.update(plain_entries(content))
        return path, content

    if choice.use_averaged_model:
        start, end = files
        averaging = f"running average between {start.name} and {end.name}"
        state = running_average_between(read(start), read(end))
        check_finite(state, f"{choice.exp_dir}, {averaging}")
    else:
        averaging = f"mean of {len(files)} checkpoints"
        state = mean_of_models(
            (path, _finite_model(content, path)) for path, content in map(read, files)
        )
    return LoadedCheckpoint(
        state_dict=state,
        provenance=_provenance(files, averaging),
        entries=entries,
        source=str(choice.exp_dir),
    )


def _finite_model(content: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    state = model_state(content, path)
    check_finite(state, path)
    return state


def _provenance(files: Sequence[Path], averaging: str) -> dict[str, Any]:
    return {
        "files": [{"name": path.name, "sha256": checkpoint_sha256(path)} for path in files],
        "averaging": averaging,
    }


def _chosen_files(choice: CheckpointChoice) -> list[Path]:
    """Return the files to average in icefall's order; first and last for the averaged model."""
    exp_dir = Path(choice.exp_dir or ".")
    if not exp_dir.is_dir():
        raise CheckpointError("there is no such folder", where=exp_dir, fix="check --exp-dir")
    if choice.iter is not None and choice.iter > 0:
        return _files_by_iteration(choice, exp_dir, choice.iter)
    if choice.epoch is None:
        raise ConfigError("--exp-dir needs --epoch or --iter", fix=checkpoints_there(exp_dir))
    return _files_by_epoch(choice, exp_dir, choice.epoch)


def _files_by_iteration(choice: CheckpointChoice, exp_dir: Path, last: int) -> list[Path]:
    avg = choice.avg or 1
    needed = avg + 1 if choice.use_averaged_model else avg
    found = find_checkpoints(exp_dir, iteration=-last)[:needed]
    _check_links(found)
    if len(found) < needed:
        reason = " (one more than --avg, for --use-averaged-model)" if needed > avg else ""
        raise CheckpointError(
            f"--iter {last} --avg {avg} needs {needed} checkpoints{reason}; "
            f"up to that iteration there are {len(found)}",
            where=exp_dir,
            fix=checkpoints_there(exp_dir),
        )
    return [found[-1], found[0]] if choice.use_averaged_model else found


def _files_by_epoch(choice: CheckpointChoice, exp_dir: Path, last: int) -> list[Path]:
    avg = choice.avg or 1
    # Some recipes count epochs from 0, the others from 1.
    first = 0 if _is_there(exp_dir / "epoch-0.pt") else 1
    if choice.use_averaged_model:
        if last - avg < first:
            raise ConfigError(
                f"--epoch {last} --avg {avg} --use-averaged-model needs epoch-{last - avg}.pt, "
                f"and epochs count from {first}",
                fix=f"give --avg {last - first} at most"
                if last > first
                else "use --use-averaged-model 0",
            )
        epochs: Sequence[int] = (last - avg, last)
    else:
        epochs = range(max(first, last - avg + 1), last + 1) or (last,)
    _check_there(epochs, exp_dir)
    files = [exp_dir / f"epoch-{epoch}.pt" for epoch in epochs]
    _check_links(files)
    return files


def _check_there(epochs: Sequence[int], exp_dir: Path) -> None:
    """Raise an error that names the first missing files, if any."""
    names = (f"epoch-{epoch}.pt" for epoch in epochs)
    missing = list(islice((name for name in names if not _is_there(exp_dir / name)), _LISTED + 1))
    if missing:
        more = ", ..." if len(missing) > _LISTED else ""
        raise CheckpointError(
            f"missing: {', '.join(missing[:_LISTED])}{more}",
            where=exp_dir,
            fix=checkpoints_there(exp_dir),
        )


def _check_links(files: Sequence[Path]) -> None:
    for path in files:
        if not path.exists():
            check_input(path, "checkpoint file", CheckpointError)


def _is_there(path: Path) -> bool:
    """Whether the path exists, possibly as a broken link."""
    try:
        return path.exists() or path.is_symlink()
    except OSError:  # a file name cannot have hundreds of digits
        return False


def checkpoints_there(exp_dir: Path) -> str:
    """Describe the checkpoints in a folder, for messages about missing ones."""
    names = sorted(
        (path.name for path in visible_files(exp_dir, "*.pt")),
        key=lambda name: (len(name), name),
    )
    return f"the folder has {', '.join(names)}" if names else "the folder has no .pt file"
