"""The options of a training run: defaults of the recipe, a file, and given options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from calve.common.config import check_options, fields_help, load_toml, option_name, resolve
from calve.common.suggest import did_you_mean
from calve.data.features import FeatureConfig
from calve.data.tokens import SymbolTable
from calve.errors import ConfigError, DataError
from calve.models.loading import ModelBuilder, sample_rate_of
from calve.protocols import TrainingData
from calve.protocols.loading import LoaderOptions
from calve.registry.catalog import registry
from calve.registry.specs import DatasetSpec
from calve.training.launching import is_launched, own_shard

__all__ = ["TrainingRequest", "configure", "options_by_table"]


@dataclass(frozen=True)
class TrainingRequest:
    """The request for one training run.

    Attributes:
      recipe: Name of the recipe.
      corpus: Name of the corpus.
      data_dir: Data directory of the corpus.
      exp_dir: Directory for checkpoints, logs and the configuration.
      config: A TOML file with the tables [encoder], [model] and [training].
      encoder: Options of the encoder.
      model: Options of the model.
      training: Options of the trainer and of the corpus' loader.
    """

    recipe: str
    corpus: str
    data_dir: Path
    exp_dir: Path
    config: Path | None = None
    encoder: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def tables(self) -> dict[str, Mapping[str, Any]]:
        """Return the options by table, as in a file."""
        return {"encoder": self.encoder, "model": self.model, "training": self.training}


def configure(request: TrainingRequest) -> dict[str, Any]:
    """Merge the recipe's defaults, the file and the given options, in ascending priority.

    The prepared corpus decides the vocabulary size.

    Returns:
      The dataclasses of options by table: "encoder", "model", "training", "loading" and "data".

    Raises:
      ConfigError: for an unknown or invalid option; if the corpus cannot be used for training; if
        the file is invalid.
      DataError: if the corpus was not prepared in ``data_dir``.
      PluginError: if the recipe or the corpus is not registered, or cannot be imported.
    """
    dataset = registry().datasets.get(request.corpus)
    if dataset.loader is None:
        raise ConfigError(f"the corpus {dataset.name} has no loader, which training needs")
    builder = ModelBuilder(request.recipe)
    training_config = builder.family.training_config
    _check_corpus_has(dataset, training_config, request.training)
    file = _read_config(request.config, builder, dataset) if request.config else {}
    tables = {name: {**file.get(name, {}), **given} for name, given in request.tables.items()}
    defaults = load_toml(builder.recipe.defaults).get("training", {})
    settings = _training(training_config, dataset, {**defaults, **tables["training"]})
    tables["model"]["vocab_size"] = _vocab_size(
        tables["model"], dataset, request.data_dir, settings["loading"]
    )
    model = builder.resolve({name: tables[name] for name in ("encoder", "model")})
    _check_sample_rate(sample_rate_of(model["model"]))
    return {
        **model,
        **settings,
        "data": TrainingData(dataset.name, request.data_dir),
    }


def _check_sample_rate(sample_rate: int) -> None:
    prepared = FeatureConfig().sample_rate
    if sample_rate != prepared:
        raise ConfigError(
            f"`calve prepare` computes features at {prepared} Hz, and no model for "
            f"{sample_rate} Hz can be trained on them",
            where="--sample-rate",
            fix="leave the option out. Models that icefall trained at another rate can be decoded "
            "and exported with it",
        )


def options_by_table(
    recipe: str, corpus: str, options: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Sort options by their names into the tables "encoder", "model" and "training".

    Raises:
      ConfigError: if neither the recipe nor the corpus has an option of that name.
      PluginError: as `configure` does.
    """
    builder = ModelBuilder(recipe)
    table_of = {
        field.name: table
        for table, classes in _classes(builder, registry().datasets.get(corpus)).items()
        for cls in classes
        for field in fields(cls)
    }
    tables: dict[str, dict[str, Any]] = {"encoder": {}, "model": {}, "training": {}}
    for name, value in options.items():
        if name not in table_of:
            raise ConfigError(
                f"neither recipe {recipe} nor corpus {corpus} has an option {name!r}",
                fix=did_you_mean(name, table_of) or f"see calve train {recipe} --help",
            )
        tables[table_of[name]][name] = value
    return tables


def _classes(builder: ModelBuilder, dataset: DatasetSpec) -> dict[str, tuple[type, ...]]:
    """Return the dataclasses of each table's options."""
    return {
        **{table: (cls,) for table, cls in builder.config_classes.items()},
        "training": (builder.family.training_config, dataset.loader_options.load()),
    }


def _read_config(path: Path, builder: ModelBuilder, dataset: DatasetSpec) -> dict[str, Any]:
    """Read the tables of a file; check that all options exist."""
    classes = _classes(builder, dataset)
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


def _check_corpus_has(
    dataset: DatasetSpec, training_config: type, given: Mapping[str, Any]
) -> None:
    """Reject options of other corpora's loaders, because the command line offers all of them."""
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
    """Split the options into those of training and of the loader, which share a table."""
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
            fix="leave --world-size out: the launcher decides",
        )
    return replace(training, world_size=world_size)


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
