"""``calve train``: options only; `calve.training.run` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from calve.cli.options import (
    RecipeGroup,
    dataclass_options,
    loadable_options,
    recipe_options,
    training_corpus_options,
)
from calve.cli.output import echo
from calve.common.config import load_toml
from calve.common.progress import console_progress
from calve.models.loading import parameter_counts
from calve.protocols import TrainingRun
from calve.registry.catalog import registry
from calve.registry.specs import RecipeSpec
from calve.training.configuration import TrainingRequest, configure
from calve.training.launching import launch, must_launch, own_shard
from calve.training.run import prepare_run, train_run

__all__ = ["train"]


def _train_command(recipe: RecipeSpec) -> click.Command:
    classes = (recipe.family.load().training_config, *_all_loader_options())
    defaults = load_toml(recipe.defaults).get("training", {})

    @click.command(recipe.name, help=f"Train {recipe.name}: {recipe.summary}.")
    @training_corpus_options
    @click.option(
        "--exp-dir",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        help="Directory for checkpoints, logs and the configuration.",
    )
    @click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="TOML file with the tables [encoder], [model] and [training]. It overrides the "
        "recipe's defaults; options override it.",
    )
    @dataclass_options(*classes, key="training", defaults=defaults)
    @recipe_options(recipe)
    @click.pass_context
    def command(
        ctx: click.Context,
        corpus: str,
        data_dir: Path,
        exp_dir: Path,
        config: Path | None,
        training: dict[str, Any],
        encoder: dict[str, Any],
        model: dict[str, Any],
    ) -> None:
        request = TrainingRequest(
            recipe.name, corpus, data_dir, exp_dir, config, encoder, model, training
        )
        configuration = configure(request)
        world_size = configuration["training"].world_size
        if must_launch(world_size):
            launch(ctx.obj.arguments, world_size)
            return
        run = prepare_run(request, configuration, console_progress())
        if own_shard().rank == 0:
            _print_parameters(run)
        train_run(run)

    return command


train = RecipeGroup(
    "train", make_command=_train_command, help="Train a recipe on a prepared corpus."
)


def _all_loader_options() -> list[type]:
    """The loader options of every corpus, since which of them is used is an option itself."""
    corpora = [one for one in registry().datasets if one.loader is not None]
    return loadable_options("corpus", {one.name: one.loader_options for one in corpora})


def _print_parameters(run: TrainingRun) -> None:
    counts = parameter_counts(run.model)
    shown = ", ".join(f"{part} {count:,}" for part, count in counts.items())
    echo(f"parameters: {shown}", err=True)
