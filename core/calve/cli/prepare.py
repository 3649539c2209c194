"""``calve prepare``: options and reports only; `calve.training.preparation` does the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from calve.cli.field_types import integer
from calve.cli.options import SpecGroup, dataclass_options, json_option
from calve.cli.output import echo, print_json
from calve.common.config import fields_help, option_name
from calve.common.progress import console_progress
from calve.registry.catalog import registry
from calve.registry.pipeline import StepResult
from calve.registry.specs import DatasetSpec
from calve.training.preparation import run_stages

__all__ = ["prepare"]

_STAGE = integer(0, 1000)


def _corpus_command(corpus: DatasetSpec) -> click.Command:
    options_class = corpus.options.load()

    @click.command(corpus.name, help=f"Prepare {corpus.summary}.", epilog=_stages_text(corpus))
    @click.option("--stage", type=_STAGE, default=0, show_default=True, help="First stage to run.")
    @click.option("--stop-stage", type=_STAGE, help="Last stage to run; all if not given.")
    @dataclass_options(options_class)
    @json_option
    def command(stage: int, stop_stage: int | None, options: dict[str, Any], as_json: bool) -> None:
        _demand_required(options_class, options)
        results = run_stages(
            corpus,
            options,
            stage=stage,
            stop_stage=stop_stage,
            progress=console_progress(),
            on_result=None if as_json else _print_result,
        )
        if as_json:
            print_json({result.name: dict(result.report) for result in results}, indent=2)

    return command


prepare = SpecGroup(
    "prepare",
    kind="CORPUS",
    title="Corpora",
    table=lambda: registry().datasets,
    make_command=_corpus_command,
    help="Prepare a corpus for training, stage by stage; finished stages are not repeated.",
)


def _demand_required(options_class: type, given: Mapping[str, Any]) -> None:
    for field in fields_help(options_class):
        if field.required and field.name not in given:
            raise click.UsageError(f"Missing option '{option_name(field.name)}'.")


def _stages_text(corpus: DatasetSpec) -> str:
    stages = (
        f"{number} {stage.name}: {stage.summary}" for number, stage in enumerate(corpus.stages)
    )
    return "\b\nStages:\n" + "\n".join(f"  {stage}" for stage in stages)


def _print_result(result: StepResult) -> None:
    echo(f"{result.name} ({result.seconds:.1f} s)")
    for name, value in result.report.items():
        echo(f"  {name}: {_in_words(value)}")


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_in_words(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
