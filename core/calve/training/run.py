"""Starts a training run from the command line, Python or torchrun."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from calve.common.config import option_name, value_text
from calve.common.progress import NO_PROGRESS, Progress
from calve.models.loading import ModelBuilder
from calve.protocols import OpenLoader, TrainingRun
from calve.registry.catalog import registry
from calve.training.configuration import TrainingRequest, configure, options_by_table
from calve.training.launching import launch, must_launch, own_shard

__all__ = ["prepare_run", "train", "train_run"]


def train(
    recipe: str,
    *,
    corpus: str,
    exp_dir: str | PathLike[str],
    data_dir: str | PathLike[str] | None = None,
    config: str | PathLike[str] | None = None,
    progress: Progress = NO_PROGRESS,
    **options: Any,
) -> None:
    """Train a recipe on a prepared corpus; the same as ``calve train``.

    In a script that torchrun starts, each process trains on its own batches. Otherwise
    ``world_size=N`` starts N processes on this machine and waits for them.

    Args:
      recipe: Name of the recipe.
      corpus: Name of the corpus.
      exp_dir: Directory for checkpoints, logs and the configuration; created if necessary.
      data_dir: Data directory of the corpus; ``data/CORPUS`` by default.
      config: A TOML file with the tables [encoder], [model] and [training]. It overrides the
        recipe's defaults, and arguments override it.
      progress: Shows the progress of the training.
      **options: Options of the encoder, the model, the trainer and the corpus' loader, as ``calve
        train RECIPE --help`` lists them, with underscores: ``num_epochs=12, max_duration=200``.

    Raises:
      ConfigError: for an unknown or invalid option.
      DataError: if the corpus was not prepared in ``data_dir``, or has no training utterances.
      CheckpointError: if the checkpoint to resume from cannot be read or does not fit.
      PluginError: if the recipe or the corpus is not registered, or cannot be imported.
      CalveError: if another process fails, or if training must stop.
    """
    request = TrainingRequest(
        recipe=recipe,
        corpus=corpus,
        data_dir=Path("data") / corpus if data_dir is None else Path(data_dir),
        exp_dir=Path(exp_dir),
        config=None if config is None else Path(config),
        **options_by_table(recipe, corpus, options),
    )
    configuration = configure(request)
    world_size = configuration["training"].world_size
    if must_launch(world_size):
        launch(_command_line(request), world_size)
    else:
        train_run(prepare_run(request, configuration, progress))


def prepare_run(
    request: TrainingRequest, configuration: dict[str, Any], progress: Progress
) -> TrainingRun:
    """Open the loaders and build the model, from the seed, for this process' share of a run.

    Args:
      request: The request.
      configuration: The result of `configure` for it.
      progress: Shown by the first process only.
    """
    dataset = registry().datasets.get(request.corpus)
    assert dataset.loader is not None  # checked by `configure`
    shard = own_shard()
    open_loader: OpenLoader = dataset.loader.load()
    batches = {
        split: open_loader(
            request.data_dir,
            split,
            configuration["loading"],
            training=split == "train",
            shard=shard,
        )
        for split in ("train", "valid")
    }
    return TrainingRun(
        model=_seeded_model(request.recipe, configuration),
        recipe=request.recipe,
        configuration=configuration,
        train=batches["train"],
        valid=batches["valid"],
        exp_dir=request.exp_dir,
        progress=progress if shard.rank == 0 else NO_PROGRESS,
        on_metrics=_notify,
    )


def train_run(run: TrainingRun) -> None:
    """Train until the run is complete or stopped; the recipe's family does the work."""
    ModelBuilder(run.recipe).family.train(run)


def _seeded_model(recipe: str, configuration: dict[str, Any]) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(configuration["training"].seed)
        return ModelBuilder(recipe).build(configuration)


def _notify(step: int, metrics: dict[str, float]) -> None:
    registry().notify("calve_train_metrics", step=step, metrics=metrics)


def _command_line(request: TrainingRequest) -> list[str]:
    """Return the arguments of ``calve`` for the same run."""
    arguments = ["train", request.recipe, "--corpus", request.corpus]
    arguments += ["--data-dir", str(request.data_dir), "--exp-dir", str(request.exp_dir)]
    if request.config is not None:
        arguments += ["--config", str(request.config)]
    for table in request.tables.values():
        for name, value in table.items():
            arguments += [option_name(name), value_text(value)]
    return arguments
