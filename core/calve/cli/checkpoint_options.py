"""Options that choose checkpoints."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import click

from calve.cli.field_types import BOOLEAN, FieldType
from calve.cli.options import Decorator, Function, decorated
from calve.common.ranges import Range

__all__ = ["checkpoint_options", "checkpoint_sweep_options", "optional_checkpoint_options"]


def _checkpoint_options(*, lists: bool = False) -> tuple[Decorator, ...]:
    annotation = tuple[int, ...] if lists else int

    def number(minimum: int, maximum: int) -> FieldType:
        return FieldType("integer", annotation, Range(minimum, maximum))

    return (
        click.option(
            "--checkpoint",
            metavar="FILE",
            help="A checkpoint file, or builtin:NAME for a checkpoint that comes with a recipe.",
        ),
        click.option(
            "--exp-dir",
            type=click.Path(file_okay=False),
            help="Experiment directory with epoch-N.pt and checkpoint-N.pt; instead of "
            "--checkpoint.",
        ),
        click.option("--epoch", type=number(0, 1_000_000), help="Use epoch-N.pt of --exp-dir."),
        click.option(
            "--iter",
            type=number(0, 10**12),
            help="Use checkpoint-N.pt of --exp-dir and none that is newer.",
        ),
        click.option(
            "--avg",
            type=number(1, 10_000),
            help="Average this many checkpoints, ending with the selected one.",
        ),
        click.option(
            "--use-averaged-model",
            type=BOOLEAN,
            help="Use training's running average (model_avg) over every batch instead of the "
            "average over checkpoints.  [default: 0]",
        ),
    )


_CHOICE = ("checkpoint", "exp_dir", "epoch", "iter", "avg", "use_averaged_model")


def _given_choice(kwargs: dict[str, Any]) -> dict[str, Any]:
    values = {name: kwargs.pop(name) for name in _CHOICE}
    return {name: value for name, value in values.items() if value is not None}


def checkpoint_options(function: Function) -> Function:
    """Options that choose a checkpoint; the command gets a `CheckpointChoice` as ``checkpoint``."""

    @functools.wraps(function)
    def collect(*args: Any, **kwargs: Any) -> Any:
        from calve.models.checkpoints import CheckpointChoice

        return function(*args, checkpoint=CheckpointChoice(**_given_choice(kwargs)), **kwargs)

    return decorated(collect, _checkpoint_options())


def optional_checkpoint_options(function: Function) -> Function:
    """As `checkpoint_options`, but the command gets None if no checkpoint was chosen at all."""

    @functools.wraps(function)
    def collect(*args: Any, **kwargs: Any) -> Any:
        from calve.models.checkpoints import CheckpointChoice

        given = _given_choice(kwargs)
        checkpoint = CheckpointChoice(**given) if given else None
        return function(*args, checkpoint=checkpoint, **kwargs)

    return decorated(collect, _checkpoint_options())


def checkpoint_sweep_options(function: Function) -> Function:
    """As `checkpoint_options`, but ``--epoch``, ``--iter`` and ``--avg`` may be lists.

    The command gets all combinations as ``checkpoints``; none if no checkpoint was chosen at all.
    """

    @functools.wraps(function)
    def collect(*args: Any, **kwargs: Any) -> Any:
        from calve.models.checkpoints import CheckpointChoice

        given = _given_choice(kwargs)
        lists = {
            name: tuple(dict.fromkeys(given.pop(name)))
            for name in ("epoch", "iter", "avg")
            if name in given
        }
        if "epoch" in lists and "iter" in lists:
            raise click.UsageError("--epoch and --iter exclude one another")
        combinations = (
            dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())
        )
        checkpoints = (
            [CheckpointChoice(**given, **numbers) for numbers in combinations]
            if given or lists
            else []
        )
        return function(*args, checkpoints=checkpoints, **kwargs)

    return decorated(collect, _checkpoint_options(lists=True))
