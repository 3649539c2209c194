"""Prepares a corpus, from the command line or Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from calve.common.config import resolve
from calve.common.locking import locked
from calve.common.progress import NO_PROGRESS, Progress
from calve.errors import ConfigError, DataError
from calve.registry.catalog import registry
from calve.registry.pipeline import StepResult, run_steps
from calve.registry.specs import DatasetSpec, StageSpec

__all__ = ["prepare", "run_stages"]


def prepare(
    corpus: str,
    *,
    stage: int = 0,
    stop_stage: int | None = None,
    progress: Progress = NO_PROGRESS,
    **options: Any,
) -> dict[str, dict[str, Any]]:
    """Prepare a corpus for training; the same as ``calve prepare``. Finished stages are kept.

    Args:
      corpus: Name of the corpus.
      stage: Number of the first stage to run, from 0.
      stop_stage: Number of the last stage to run; None for all.
      progress: Shows the running stage and its progress.
      **options: Options of the corpus, as ``calve prepare CORPUS --help`` lists them, with
        underscores: ``data_dir="data/mine", jobs=4``.

    Returns:
      The report of each stage, by name.

    Raises:
      ConfigError: for an option that is unknown, missing or invalid; if there is no such stage; if
        another process uses ``data_dir``.
      DataError: if a stage fails; the message names the stage.
      PluginError: if the corpus is not registered or cannot be imported.
    """
    spec = registry().datasets.get(corpus)
    results = run_stages(spec, options, stage=stage, stop_stage=stop_stage, progress=progress)
    return {result.name: dict(result.report) for result in results}


def run_stages(
    corpus: DatasetSpec,
    options: Mapping[str, Any],
    *,
    stage: int = 0,
    stop_stage: int | None = None,
    progress: Progress = NO_PROGRESS,
    on_result: Callable[[StepResult], object] | None = None,
) -> list[StepResult]:
    """Run stages of a corpus, alone in its ``data_dir``; see `prepare`.

    Args:
      corpus: The corpus.
      options: Its options by name.
      stage, stop_stage, progress: As in `prepare`.
      on_result: Called after each stage.

    Raises:
      CalveError: as `prepare`.
    """
    stages = _chosen_stages(corpus, stage, stop_stage)
    resolved = resolve(corpus.options.load(), options)
    with _sole_preparation(getattr(resolved, "data_dir", None)):
        return run_steps(
            stages, resolved, progress, kind="stage", error=DataError, on_result=on_result
        )


def _sole_preparation(data_dir: Path | None) -> AbstractContextManager[None]:
    """Lock the corpus' ``data_dir`` against other preparations, if it has one."""
    if data_dir is None:
        return nullcontext()
    return locked(data_dir, doing="preparing", option="--data-dir")


def _chosen_stages(corpus: DatasetSpec, first: int, last: int | None) -> Sequence[StageSpec]:
    end = len(corpus.stages) if last is None else last + 1
    chosen = corpus.stages[first:end] if first >= 0 and end >= 0 else ()
    if not chosen:
        bounds = f"from --stage {first} on"
        if last is not None:
            bounds = f"between --stage {first} and --stop-stage {last}"
        raise ConfigError(
            f"there is no stage {bounds}",
            fix=f"{corpus.name} has the stages 0 to {len(corpus.stages) - 1}",
        )
    return chosen
