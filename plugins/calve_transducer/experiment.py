"""The folder of a training run: checkpoints, configuration, logs."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from calve.api import CheckpointError, ConfigError
from calve.averaging import find_checkpoints
from calve.files import atomic_file
from calve.protocols import TrainingRun
from calve_transducer.training_config import TrainingConfig

__all__ = ["LOGGER", "Experiment"]

LOGGER = logging.getLogger("calve.training")

_LINE_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class Experiment:
    """Where a run's files are, and what configuration they belong to.

    Args:
      run: Gives the folder and the configuration.
    """

    def __init__(self, run: TrainingRun) -> None:
        self.folder = run.exp_dir
        self.configuration: dict[str, Any] = {
            "recipe": run.recipe,
            **{table: _plain(options) for table, options in run.configuration.items()},
        }
        self._training: TrainingConfig = run.configuration["training"]

    def epoch_file(self, epoch: int) -> Path:
        """The checkpoint after an epoch."""
        return self.folder / f"epoch-{epoch}.pt"

    def batch_file(self, batch: int) -> Path:
        """The checkpoint after a batch, counted from the start of training."""
        return self.folder / f"checkpoint-{batch}.pt"

    def checkpoint_to_continue(self) -> Path | None:
        """The checkpoint that ``start_batch`` or ``start_epoch`` names; None for a new run.

        Raises:
          CheckpointError: if there is no such checkpoint.
          ConfigError: if a new run would mix with the checkpoints of another, or a continued one
            has another configuration.
        """
        if self._training.start_batch > 0:
            path = self.batch_file(self._training.start_batch)
        elif self._training.start_epoch > 1:
            path = self.epoch_file(self._training.start_epoch - 1)
        else:
            self._check_unused()
            return None
        if not path.exists():
            raise CheckpointError("there is no checkpoint to continue from", where=path)
        self._check_same_configuration()
        return path

    def write_configuration(self) -> None:
        """Save the configuration as ``config.json`` beside the checkpoints."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(self._configuration_file) as temporary:
            temporary.write_text(json.dumps(self.configuration, indent=2) + "\n", encoding="utf-8")

    def checkpoint_entries(self) -> dict[str, Any]:
        """The configuration as the flat training parameters of icefall's checkpoints."""
        tables = (self.configuration[name] for name in ("encoder", "model", "training"))
        entries: dict[str, Any] = {"recipe": self.configuration["recipe"]}
        for table in tables:
            entries.update(table)
        return entries

    def keep_newest_batch_files(self, count: int) -> None:
        """Delete all but ``count`` of the ``checkpoint-N.pt``."""
        for path in find_checkpoints(self.folder)[count:]:
            path.unlink()

    def copy_as(self, source: Path, name: str) -> None:
        """A copy of a checkpoint under another name in the same folder."""
        with atomic_file(self.folder / name) as temporary:
            shutil.copyfile(source, temporary)

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Inside the block, `LOGGER` writes to a file in ``log/``, its warnings also to stderr."""
        log_dir = self.folder / "log"
        log_dir.mkdir(parents=True, exist_ok=True)
        started = datetime.now().strftime("%Y-%m-%d-%H-%M-%S")
        to_file = logging.FileHandler(log_dir / f"log-train-{started}.txt", encoding="utf-8")
        to_file.setFormatter(logging.Formatter(_LINE_FORMAT))
        to_stderr = logging.StreamHandler()
        to_stderr.setLevel(logging.WARNING)
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False
        handlers: tuple[logging.Handler, ...] = (to_file, to_stderr)
        for handler in handlers:
            LOGGER.addHandler(handler)
        try:
            yield
        finally:
            for handler in handlers:
                LOGGER.removeHandler(handler)
                handler.close()

    @property
    def _configuration_file(self) -> Path:
        return self.folder / "config.json"

    def _check_unused(self) -> None:
        batches = find_checkpoints(self.folder)
        if not batches and not any(self.folder.glob("epoch-*.pt")):
            return
        fix = "give another --exp-dir"
        if batches:
            newest = batches[0].stem.removeprefix("checkpoint-")
            fix += f", or continue that run with --start-batch {newest}"
        raise ConfigError("this folder already holds a training run", where=self.folder, fix=fix)

    def _check_same_configuration(self) -> None:
        try:
            saved = json.loads(self._configuration_file.read_text(encoding="utf-8"))
            differences = _differences(saved, self.configuration, self._training.fixed_options())
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"the configuration of the run to continue cannot be read: {error}",
                where=self._configuration_file,
            ) from error
        if differences:
            raise ConfigError(
                "the run to continue was started with another configuration: "
                + "; ".join(differences),
                where=self._configuration_file,
                fix="give the options that it was started with, or start anew elsewhere",
            )


def _plain(options: Any) -> dict[str, Any]:
    """A dataclass as JSON would give it back."""
    return json.loads(json.dumps(asdict(options), default=str))  # type: ignore[no-any-return]


def _differences(
    saved: Mapping[str, Any], current: Mapping[str, Any], fixed: Mapping[str, Any]
) -> list[str]:
    """ "name was A, is B" for each option that must not change."""
    pairs = [("recipe", saved.get("recipe"), current["recipe"])]
    for table in ("encoder", "model"):
        names = sorted({*saved[table], *current[table]})
        pairs += [(name, saved[table].get(name), current[table].get(name)) for name in names]
    pairs += [(name, saved["training"].get(name), current["training"][name]) for name in fixed]
    return [f"{name} was {before!r}, is {now!r}" for name, before, now in pairs if before != now]
