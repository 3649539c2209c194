"""The experiment directory: checkpoints, configuration, logs."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from calve.api import CheckpointError, ConfigError
from calve.common.files import atomic_file, writing_explained
from calve.common.inputs import read_json
from calve.common.locking import locked
from calve.common.terminal import print_to_stderr
from calve.protocols import Batch, TrainingRun
from calve.services import checkpoints_there, find_checkpoints, read_checkpoint
from calve_transducer.training.config import TrainingConfig
from calve_transducer.training.metrics import SPACE_FIX
from calve_transducer.training.processes import Processes

__all__ = ["LOGGER", "Experiment", "announce"]

LOGGER = logging.getLogger("calve.training")

_MOST_BAD_BATCHES_KEPT = 10
_ANNOUNCED = "announced"
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
        self._fixed = {
            table: _fixed_options(options) for table, options in run.configuration.items()
        }
        self._training: TrainingConfig = run.configuration["training"]

    def epoch_file(self, epoch: int) -> Path:
        """The checkpoint after an epoch."""
        return self.folder / f"epoch-{epoch}.pt"

    def batch_file(self, batch: int) -> Path:
        """The checkpoint after a batch, counted from the start of training."""
        return self.folder / f"checkpoint-{batch}.pt"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Inside the block, no other process trains in the folder; unfinished files are removed.

        Raises:
          ConfigError: if another process trains in it.
        """
        with locked(self.folder, doing="training in", option="--exp-dir"):
            for unfinished in (*self.folder.glob(".*.*.pt"), *self.folder.glob(".*.*.json")):
                unfinished.unlink()
            yield

    def checkpoint_to_continue(self) -> Path | None:
        """The checkpoint that the options ask for; None for a new run.

        Raises:
          CheckpointError: if there is no such checkpoint.
          ConfigError: if a new run would mix with the checkpoints of another, or a continued one
            has another configuration.
        """
        options = self._training
        if options.resume:
            path = self._newest_checkpoint()
        elif options.start_batch > 0:
            path = self.batch_file(options.start_batch)
        elif options.start_epoch > 1:
            path = self.epoch_file(options.start_epoch - 1)
        else:
            self._check_unused()
            return None
        if path is None:
            return None
        if not path.exists():
            raise CheckpointError(
                "there is no checkpoint to continue from",
                where=path,
                fix=checkpoints_there(self.folder),
            )
        self._check_same_configuration()
        return path

    def _newest_checkpoint(self) -> Path | None:
        """The checkpoint after the most batches, by its own count; of equal ones, the epoch's.

        Modification times say nothing: copying a folder changes them.

        Raises:
          CheckpointError: if a checkpoint cannot be read.
        """
        candidates = [*find_checkpoints(self.folder)[:1], *self._epoch_files()[-1:]]
        return max(reversed(candidates), key=_batches_in, default=None)

    def _epoch_files(self) -> list[Path]:
        """The files ``epoch-N.pt``, lowest N first."""
        numbered = {
            int(path.stem.removeprefix("epoch-")): path
            for path in self.folder.glob("epoch-*.pt")
            if path.stem.removeprefix("epoch-").isdecimal()
        }
        return [numbered[epoch] for epoch in sorted(numbered)]

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

    def keep_bad_batch(self, batch: Batch, name: str, reason: str) -> Path | None:
        """Save a batch that could not be trained on, for inspection; None if enough are kept.

        The file holds what `calve.protocols.Batch` has, and the reason.
        """
        folder = self.folder / "bad-batches"
        if folder.is_dir() and len(list(folder.glob("*.pt"))) >= _MOST_BAD_BATCHES_KEPT:
            return None
        path = folder / f"{name}.pt"
        with atomic_file(path) as temporary:
            torch.save({**vars(batch), "reason": reason}, temporary)
        return path

    def copy_as(self, source: Path, name: str) -> None:
        """A copy of a checkpoint under another name in the same folder."""
        with atomic_file(self.folder / name) as temporary:
            shutil.copyfile(source, temporary)

    @contextmanager
    def logging(self, processes: Processes) -> Iterator[None]:
        """Inside the block, `LOGGER` writes to a file in ``log/``.

        Warnings, and what is announced, are shown on stderr too. Of several processes, each has a
        file of its own.

        Raises:
          CalveError: if the file cannot be written, then or whenever a line is logged.
        """
        log_dir = self.folder / "log"
        started = datetime.now().strftime("%Y-%m-%d-%H-%M-%S")
        number = f"-{processes.rank}" if processes.world_size > 1 else ""
        path = log_dir / f"log-train-{started}{number}.txt"
        with writing_explained("the log", path, SPACE_FIX):
            log_dir.mkdir(parents=True, exist_ok=True)
            to_file = _LogFile(path, encoding="utf-8")
        to_file.setFormatter(logging.Formatter(_LINE_FORMAT))
        to_stderr = _Console()
        to_stderr.addFilter(_is_for_console)
        before = LOGGER.level, LOGGER.propagate
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False
        handlers: tuple[logging.Handler, ...] = (to_file, to_stderr)
        for handler in handlers:
            LOGGER.addHandler(handler)
        try:
            yield
        finally:
            LOGGER.setLevel(before[0])
            LOGGER.propagate = before[1]
            for handler in handlers:
                LOGGER.removeHandler(handler)
                with suppress(OSError):  # It has been said when the line was written.
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
            fix += f", or continue that run with --resume 1 or --start-batch {newest}"
        raise ConfigError("this folder already holds a training run", where=self.folder, fix=fix)

    def _check_same_configuration(self) -> None:
        try:
            saved = read_json(self._configuration_file, "configuration", ConfigError)
            differences = _differences(saved, self.configuration, self._fixed)
        except (ConfigError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"the configuration of the run to continue cannot be read: {error}",
                where=self._configuration_file,
                fix="put it back, or start anew with another --exp-dir",
            ) from error
        if differences:
            raise ConfigError(
                "the run to continue was started with another configuration: "
                + "; ".join(differences),
                where=self._configuration_file,
                fix="give the options that it was started with, or start anew elsewhere",
            )


class _LogFile(logging.FileHandler):
    """A log whose disk is full ends the run, rather than printing a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
            return
        with writing_explained("the log", Path(self.baseFilename), SPACE_FIX):
            raise


class _Console(logging.Handler):
    """Lines on what stderr is now: a progress bar puts itself in its place, to stay below them."""

    def emit(self, record: logging.LogRecord) -> None:
        print_to_stderr(self.format(record))  # If nobody looks on any more, the log has it.


def _batches_in(checkpoint: Path) -> int:
    """After how many batches a checkpoint was saved; -1 if it does not say so."""
    batches = read_checkpoint(checkpoint).get("batch_idx_train")
    return batches if isinstance(batches, int) else -1


def _is_for_console(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or getattr(record, _ANNOUNCED, False)


def announce(message: str, *arguments: object) -> None:
    """Write a line to the log, and show it to whoever looks on."""
    LOGGER.info(message, *arguments, extra={_ANNOUNCED: True})


def _plain(options: Any) -> dict[str, Any]:
    """A dataclass as JSON would give it back."""
    return json.loads(json.dumps(asdict(options), default=str))  # type: ignore[no-any-return]


def _fixed_options(options: Any) -> dict[str, Any]:
    """The options that must be the same when a run is continued, with their defaults.

    These are all but those marked otherwise.
    """
    return {
        field.name: None if field.default is MISSING else field.default
        for field in fields(options)
        if field.metadata.get("fixed", True)
    }


def _differences(
    saved: Mapping[str, Any], current: Mapping[str, Any], fixed: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """ "name was A, is B" for each option that must not change.

    A run that is older than an option was trained with its default; one that is older than a table
    says nothing of it.
    """
    pairs = [("recipe", saved.get("recipe"), current["recipe"])]
    for table, defaults in fixed.items():
        if table not in saved:
            continue
        before = {**defaults, **saved[table]}
        pairs += [(name, before[name], current[table].get(name)) for name in defaults]
    return [f"{name} was {before!r}, is {now!r}" for name, before, now in pairs if before != now]
