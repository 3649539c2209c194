"""``calve train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from calve.cli.options import RecipeGroup, corpus_options, dataclass_options, recipe_options
from calve.config import load_toml, resolve
from calve.errors import ConfigError, DataError
from calve.loading import LoaderOptions
from calve.models import ModelBuilder, parameter_counts
from calve.progress import console_progress
from calve.protocols import TrainingRun
from calve.registry import registry
from calve.specs import DatasetSpec, RecipeSpec
from calve.tokens import SymbolTable

__all__ = ["train"]


def _train_command(recipe: RecipeSpec) -> click.Command:
    training_config = recipe.family.load().training_config

    @click.command(recipe.name, help=f"Train {recipe.name}: {recipe.summary}.")
    @corpus_options
    @click.option(
        "--exp-dir",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        help="Folder for checkpoints, logs and the configuration.",
    )
    @dataclass_options(training_config, key="training")
    @recipe_options(recipe)
    def command(
        corpus: str,
        data_dir: Path,
        exp_dir: Path,
        training: dict[str, Any],
        encoder: dict[str, Any],
        model: dict[str, Any],
    ) -> None:
        _train(
            recipe,
            registry().datasets.get(corpus),
            data_dir,
            exp_dir,
            {"encoder": encoder, "model": model, "training": training},
        )

    return command


train = RecipeGroup(
    "train", make_command=_train_command, help="Train a recipe on a prepared corpus."
)


def _train(
    recipe: RecipeSpec,
    dataset: DatasetSpec,
    data_dir: Path,
    exp_dir: Path,
    options: dict[str, dict[str, Any]],
) -> None:
    if dataset.loader is None:
        raise ConfigError(f"the corpus {dataset.name} can be prepared, but not trained on")
    builder = ModelBuilder(recipe.name)
    options["model"]["vocab_size"] = _vocab_size(options["model"], dataset, data_dir)
    configuration = builder.resolve(options)
    training: Any = resolve(
        builder.family.training_config,
        load_toml(recipe.defaults).get("training", {}),
        options["training"],
    )
    loading = resolve(
        LoaderOptions,
        dataset.loader_defaults,
        {"max_duration": training.max_duration, "seed": training.seed},
    )
    loader = dataset.loader.load()
    batches = {
        split: loader(data_dir, split, loading, training=split == "train")
        for split in ("train", "valid")
    }
    model = _seeded_model(builder, configuration, training.seed)
    counts = ", ".join(f"{part} {count:,}" for part, count in parameter_counts(model).items())
    click.echo(f"parameters: {counts}", err=True)
    run = TrainingRun(
        model=model,
        recipe=recipe.name,
        configuration={**configuration, "training": training},
        train=batches["train"],
        valid=batches["valid"],
        exp_dir=exp_dir,
        progress=console_progress(),
        on_metrics=lambda step, metrics: registry().notify(
            "calve_train_metrics", step=step, metrics=metrics
        ),
    )
    builder.family.train(run)


def _vocab_size(model: dict[str, Any], dataset: DatasetSpec, data_dir: Path) -> int:
    tokens = data_dir / dataset.tokens
    if not tokens.exists():
        raise DataError(
            f"the corpus {dataset.name} has not been prepared here: there is no symbol table",
            where=tokens,
            fix=f"calve prepare {dataset.name} --data-dir {data_dir}",
        )
    size = len(SymbolTable.read(tokens))
    if model.get("vocab_size", size) != size:
        raise ConfigError(
            f"--vocab-size is {model['vocab_size']}, but the corpus has {size} symbols",
            where=tokens,
            fix="leave --vocab-size out",
        )
    return size


def _seeded_model(builder: ModelBuilder, configuration: dict[str, Any], seed: int) -> Any:
    import torch

    torch.manual_seed(seed)
    return builder.build(configuration)
