"""``calve train``."""

from __future__ import annotations

from dataclasses import replace
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
from calve.common.config import check_options, fields_help, load_toml, option_name, resolve
from calve.common.progress import NO_PROGRESS, console_progress
from calve.data.tokens import SymbolTable
from calve.errors import ConfigError, DataError
from calve.models.loading import ModelBuilder, parameter_counts
from calve.protocols import OpenLoader, TrainingData, TrainingRun
from calve.protocols.loading import LoaderOptions
from calve.registry.catalog import registry
from calve.registry.specs import DatasetSpec, RecipeSpec
from calve.training.launching import is_launched, launch, own_shard

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
        help="Folder for checkpoints, logs and the configuration.",
    )
    @click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="TOML with the tables [encoder], [model] and [training]: it wins over the recipe's "
        "defaults, and options win over it.",
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
        dataset = registry().datasets.get(corpus)
        options = {"encoder": encoder, "model": model, "training": training}
        configuration = _resolve(
            recipe,
            dataset,
            data_dir,
            _read_config(config, recipe, dataset) if config else {},
            options,
        )
        world_size = configuration["training"].world_size
        if world_size > 1 and not is_launched():
            launch(ctx.obj.arguments, world_size)
        else:
            _train(recipe, dataset, data_dir, exp_dir, configuration)

    return command


train = RecipeGroup(
    "train", make_command=_train_command, help="Train a recipe on a prepared corpus."
)


def _all_loader_options() -> list[type]:
    """Those of all corpora: which one is trained on is an option itself."""
    corpora = [one for one in registry().datasets if one.loader is not None]
    return loadable_options("corpus", {one.name: one.loader_options for one in corpora})


def _read_config(path: Path, recipe: RecipeSpec, dataset: DatasetSpec) -> dict[str, Any]:
    """The tables of a file, each with options that exist."""
    builder = ModelBuilder(recipe.name)
    classes: dict[str, tuple[type, ...]] = {
        table: (cls,) for table, cls in builder.config_classes.items()
    }
    classes["training"] = (builder.family.training_config, dataset.loader_options.load())
    config = load_toml(path)
    for name, table in config.items():
        if name not in classes:
            raise ConfigError(
                f"the configuration has a table {name!r}",
                where=path,
                fix=f"it may have {', '.join(classes)}",
            )
        if not isinstance(table, dict):
            raise ConfigError(
                f"the configuration's {name!r} is not a table",
                where=path,
                fix=f"begin one with [{name}]",
            )
        check_options(table, *classes[name], place=f"{path} [{name}]")
    return config


def _resolve(
    recipe: RecipeSpec,
    dataset: DatasetSpec,
    data_dir: Path,
    config: dict[str, Any],
    options: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """The configuration by table, "encoder", "model", "training", "loading" and "data"."""
    builder = ModelBuilder(recipe.name)
    _check_corpus_has(dataset, builder.family.training_config, options["training"])
    tables = {name: {**config.get(name, {}), **given} for name, given in options.items()}
    training = {**load_toml(recipe.defaults).get("training", {}), **tables["training"]}
    settings = _training(builder.family.training_config, dataset, training)
    tables["model"]["vocab_size"] = _vocab_size(
        tables["model"], dataset, data_dir, settings["loading"]
    )
    return {
        **builder.resolve({name: tables[name] for name in ("encoder", "model")}),
        **settings,
        "data": TrainingData(dataset.name, data_dir),
    }


def _check_corpus_has(dataset: DatasetSpec, training_config: type, given: dict[str, Any]) -> None:
    """Refuse options of the loaders of other corpora; the command line offers those of all."""
    classes = (training_config, dataset.loader_options.load())
    known = {field.name for cls in classes for field in fields_help(cls)}
    for name in given:
        if name not in known:
            raise ConfigError(
                f"the corpus {dataset.name} has no such option",
                where=option_name(name),
                fix="leave the option out",
            )


def _training(training_config: type, dataset: DatasetSpec, given: dict[str, Any]) -> dict[str, Any]:
    """The options of training and of the loader; they are one list for people."""
    loader_options = dataset.loader_options.load()
    names = {
        cls: {field.name for field in fields_help(cls)} for cls in (training_config, loader_options)
    }
    for_loader = {name: given[name] for name in given if name in names[loader_options]}
    for_trainer = {
        name: given[name]
        for name in given
        if name in names[training_config] or name not in for_loader
    }
    training: Any = resolve(training_config, for_trainer)
    if is_launched():
        training = _with_launched_world_size(training, "world_size" in given)
    return {
        "training": training,
        "loading": resolve(loader_options, for_loader),
    }


def _with_launched_world_size(training: Any, is_given: bool) -> Any:
    world_size = own_shard().world_size
    if is_given and training.world_size != world_size:
        raise ConfigError(
            f"--world-size is {training.world_size}, but {world_size} processes were started",
            fix="leave --world-size out: whoever starts the processes decides",
        )
    return replace(training, world_size=world_size)


def _train(
    recipe: RecipeSpec,
    dataset: DatasetSpec,
    data_dir: Path,
    exp_dir: Path,
    configuration: dict[str, Any],
) -> None:
    assert dataset.loader is not None  # --corpus offers no other
    builder = ModelBuilder(recipe.name)
    shard = own_shard()
    open_loader: OpenLoader = dataset.loader.load()
    batches = {
        split: open_loader(
            data_dir, split, configuration["loading"], training=split == "train", shard=shard
        )
        for split in ("train", "valid")
    }
    model = _seeded_model(builder, configuration, configuration["training"].seed)
    if shard.rank == 0:
        counts = ", ".join(f"{part} {count:,}" for part, count in parameter_counts(model).items())
        click.echo(f"parameters: {counts}", err=True)
    run = TrainingRun(
        model=model,
        recipe=recipe.name,
        configuration=configuration,
        train=batches["train"],
        valid=batches["valid"],
        exp_dir=exp_dir,
        progress=console_progress() if shard.rank == 0 else NO_PROGRESS,
        on_metrics=_notify,
    )
    builder.family.train(run)


def _notify(step: int, metrics: dict[str, float]) -> None:
    registry().notify("calve_train_metrics", step=step, metrics=metrics)


def _vocab_size(
    model: dict[str, Any], dataset: DatasetSpec, data_dir: Path, options: LoaderOptions
) -> int:
    default = Path(dataset.tokens)
    chosen = options.symbol_table(default)
    tokens = data_dir / chosen
    if not tokens.exists():
        if chosen != default:
            raise DataError(
                f"{chosen.parent} has no symbol table",
                where=tokens,
                fix=f"name one of those that were prepared in {data_dir}",
            )
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
