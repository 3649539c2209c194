"""Averages checkpoints by icefall's rules.

There are two ways. `average_checkpoints` is the mean of several saved models. The other uses
``model_avg``, which icefall keeps while it trains: the average of *all* models since the start,
updated every ``average_period`` batches. From two such averages follows the average over the
batches between them, without any of the models in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calve.errors import CheckpointError
from calve.models.checkpoint_files import model_state, read_checkpoint

if TYPE_CHECKING:
    import torch

__all__ = [
    "average_checkpoints",
    "average_checkpoints_with_averaged_model",
    "find_checkpoints",
]

_ITERATION_FILE = re.compile(r"checkpoint-(\d+)\.pt")


def find_checkpoints(exp_dir: Path | str, iteration: int = 0) -> list[Path]:
    """The files ``checkpoint-N.pt`` in a folder, highest N first.

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
    """The mean of the models in several checkpoints; integer entries are divided rounding down.

    Raises:
      CheckpointError: if a file cannot be read, or the models differ in keys or shapes.
    """
    first, *others = paths
    total = {key: value.clone() for key, value in _model(first).items()}
    for path in others:
        state = _model(path)
        _check_alike(total, state, first, path)
        for key, value in total.items():
            value += state[key]
    for value in total.values():
        if value.is_floating_point():
            value /= len(paths)
        else:
            value //= len(paths)
    return total


def average_checkpoints_with_averaged_model(
    start: Path | str, end: Path | str
) -> dict[str, torch.Tensor]:
    """The average model over the batches after ``start`` up to ``end``, from their ``model_avg``.

    Integer entries are those of ``end``.

    Raises:
      CheckpointError: if a file cannot be read or has no ``model_avg``, if ``end`` is not later
        than ``start``, or if the models differ in keys or shapes.
    """
    start_content, end_content = read_checkpoint(start), read_checkpoint(end)
    start_average = _running_average(start_content, start)
    end_average = _running_average(end_content, end)
    _check_alike(end_average, start_average, end, start)
    period = _number(start_content, "average_period", start)
    # The running average was last updated at a multiple of the period.
    start_batch = _number(start_content, "batch_idx_train", start) // period * period
    end_batch = _number(end_content, "batch_idx_train", end) // period * period
    if end_batch <= start_batch:
        raise CheckpointError(
            f"no average can lie between batch {start_batch} ({Path(start).name}) "
            f"and batch {end_batch} ({Path(end).name})",
            where=Path(end).parent,
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
    if not isinstance(number, int) or number < 1:
        raise CheckpointError(
            f"this checkpoint's {key} is {number!r}; averaging needs a positive integer",
            where=path,
            fix="use --use-averaged-model 0",
        )
    return number


def _check_alike(
    one: Mapping[str, torch.Tensor],
    other: Mapping[str, torch.Tensor],
    one_path: Path | str,
    other_path: Path | str,
) -> None:
    differing = sorted(
        key
        for key in one.keys() | other.keys()
        if key not in one or key not in other or one[key].shape != other[key].shape
    )
    if differing:
        raise CheckpointError(
            f"{Path(one_path).name} and {Path(other_path).name} hold different models: "
            f"{len(differing)} entries differ, the first is {differing[0]}",
            where=Path(one_path).parent,
            fix="average checkpoints of one training run only",
        )
