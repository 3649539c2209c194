"""Averaging of checkpoints by icefall's rules.

There are two methods. `average_checkpoints` computes the mean of several saved models. The other
method uses ``model_avg``, which icefall updates every ``average_period`` batches: the average of
*all* models since the start. Two such averages determine the average over the batches between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calve.common.printable import shortened
from calve.errors import CheckpointError
from calve.models.checkpoint_files import model_state, read_checkpoint

if TYPE_CHECKING:
    import torch

__all__ = [
    "average_checkpoints",
    "average_checkpoints_with_averaged_model",
    "checkpoint_number",
    "find_checkpoints",
    "mean_of_models",
    "running_average_between",
]

_ITERATION_FILE = re.compile(r"checkpoint-(\d+)\.pt")


def find_checkpoints(exp_dir: Path | str, iteration: int = 0) -> list[Path]:
    """Return the files ``checkpoint-N.pt`` in a folder, by descending N.

    Args:
      iteration: If positive or zero, only N >= iteration; if negative, only N <= -iteration.
    """
    found = {}
    for path in Path(exp_dir).glob("checkpoint-*.pt"):
        match = _ITERATION_FILE.fullmatch(path.name)
        if match is not None:
            found[int(match.group(1))] = path
    wanted: Callable[[int], bool] = (
        (lambda number: number >= iteration)
        if iteration >= 0
        else (lambda number: number <= -iteration)
    )
    return [found[number] for number in sorted(found, reverse=True) if wanted(number)]


def average_checkpoints(paths: Sequence[Path | str]) -> dict[str, torch.Tensor]:
    """Compute the mean of the models in several checkpoints.

    Integer entries are divided with rounding down, as in icefall. Boolean entries are masks, which
    have no mean. They are taken from the newest checkpoint: the one with the highest number in its
    name (``epoch-N.pt``, ``checkpoint-N.pt``), otherwise the last.

    Raises:
      CheckpointError: if a file cannot be read, or the models differ in keys or shapes.
    """
    return mean_of_models((Path(path), _model(path)) for path in paths)


def mean_of_models(
    models: Iterable[tuple[Path, Mapping[str, torch.Tensor]]],
) -> dict[str, torch.Tensor]:
    """Like `average_checkpoints`, for models that are read one after another.

    Args:
      models: At least one pair of a file and its model.

    Raises:
      CheckpointError: if the models differ in keys or shapes.
    """
    remaining = iter(models)
    first, model = newest, masks = next(remaining)
    total = {key: _summable(value) for key, value in model.items()}
    dtypes = {key: value.dtype for key, value in model.items()}
    count = 1
    for path, state in remaining:
        _check_alike(total, state, first, path)
        for key, value in total.items():
            if not _is_mask(state[key]):
                value += state[key]
        if checkpoint_number(path) >= checkpoint_number(newest):
            newest, masks = path, state
        count += 1
    return {
        key: masks[key].clone() if _is_mask(value) else _divided(value, count).to(dtypes[key])
        for key, value in total.items()
    }


def _is_mask(value: torch.Tensor) -> bool:
    import torch

    return value.dtype == torch.bool


def _summable(value: torch.Tensor) -> torch.Tensor:
    """Return a copy whose sums do not overflow and do not lose bits of half precision."""
    import torch

    if value.dtype in (torch.float16, torch.bfloat16):
        return value.to(torch.float32)
    if value.is_floating_point() or _is_mask(value):
        return value.clone()
    return value.to(torch.int64, copy=True)


def _divided(total: torch.Tensor, count: int) -> torch.Tensor:
    return total.div_(count) if total.is_floating_point() else total.floor_divide_(count)


def checkpoint_number(path: Path) -> int:
    """Return N of ``epoch-N.pt`` or ``checkpoint-N.pt``; -1 for other names."""
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def average_checkpoints_with_averaged_model(
    start: Path | str, end: Path | str
) -> dict[str, torch.Tensor]:
    """Compute the average model over the batches after ``start`` up to ``end``.

    It follows from the entries ``model_avg``. Integer and boolean entries are those of ``end``.

    Raises:
      CheckpointError: if a file cannot be read or has no ``model_avg``, if ``end`` is not later
        than ``start``, or if the models differ in keys, shapes or kinds of number.
    """
    return running_average_between(
        (Path(start), read_checkpoint(start)), (Path(end), read_checkpoint(end))
    )


def running_average_between(
    start: tuple[Path, Mapping[str, Any]], end: tuple[Path, Mapping[str, Any]]
) -> dict[str, torch.Tensor]:
    """Like `average_checkpoints_with_averaged_model`, for checkpoints that are already read.

    Args:
      start: The earlier file, and the result of `read_checkpoint` for it.
      end: The same for the later file.
    """
    (start_path, start_content), (end_path, end_content) = start, end
    start_average = _running_average(start_content, start_path)
    end_average = _running_average(end_content, end_path)
    _check_alike(end_average, start_average, end_path, start_path)
    period = _number(start_content, "average_period", start_path)
    # The running average was last updated at a multiple of the period.
    start_batch = _number(start_content, "batch_idx_train", start_path) // period * period
    end_batch = _number(end_content, "batch_idx_train", end_path) // period * period
    if end_batch <= start_batch:
        raise CheckpointError(
            f"no average can lie between batch {start_batch} ({start_path.name}) "
            f"and batch {end_batch} ({end_path.name})",
            where=end_path.parent,
            fix="the second checkpoint must be the later one, by at least "
            f"average_period = {period} batches",
        )
    # ``end * e - start * s``, divided by ``e - s``; the order of operations is icefall's.
    end_weight = end_batch / (end_batch - start_batch)
    start_weight = (1 - end_weight) / end_weight
    return {
        key: (value + start_average[key] * start_weight) * end_weight
        if value.is_floating_point()
        else value.clone()
        for key, value in end_average.items()
    }


def _model(path: Path | str) -> dict[str, torch.Tensor]:
    return model_state(read_checkpoint(path), path)


def _running_average(content: Mapping[str, Any], path: Path | str) -> dict[str, torch.Tensor]:
    if content.get("model_avg") is None:
        raise CheckpointError(
            "this checkpoint was saved without a running average (model_avg)",
            where=path,
            fix="use --use-averaged-model 0",
        )
    return model_state({"model": content["model_avg"]}, path)


def _number(content: Mapping[str, Any], key: str, path: Path | str) -> int:
    number = content.get(key)
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number < 2**63:
        raise CheckpointError(
            f"this checkpoint's {key} is {shortened(number)}; averaging needs a positive integer",
            where=path,
            fix="use --use-averaged-model 0",
        )
    return number


def _kind(value: torch.Tensor) -> tuple[Any, ...]:
    """Return what averaged entries must have in common; float16 and float32 may be mixed."""
    return tuple(value.shape), value.is_floating_point(), _is_mask(value)


def _check_alike(
    one: Mapping[str, torch.Tensor],
    other: Mapping[str, torch.Tensor],
    one_path: Path | str,
    other_path: Path | str,
) -> None:
    differing = sorted(
        key
        for key in one.keys() | other.keys()
        if key not in one or key not in other or _kind(one[key]) != _kind(other[key])
    )
    if differing:
        raise CheckpointError(
            f"{Path(one_path).name} and {Path(other_path).name} hold different models: "
            f"{len(differing)} entries differ, the first is {differing[0]}",
            where=Path(one_path).parent,
            fix="average checkpoints of one training run only",
        )
