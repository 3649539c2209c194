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
    """The directory of a run and its configuration.

    Args:
      run: The run, with its folder and its configuration.
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
        """Return the path of the checkpoint after an epoch."""
        return self.folder / f"epoch-{epoch}.pt"

    def batch_file(self, batch: int) -> Path:
        """Return the path of the checkpoint after a batch, counted from the start of training."""
        return self.folder / f"checkpoint-{batch}.pt"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other processes inside the block; remove unfinished files.

        Raises:
          ConfigError: if another process trains in the folder.
        """
        with locked(self.folder, doing="training in", option="--exp-dir"):
            for unfinished in (*self.folder.glob(".*.*.pt"), *self.folder.glob(".*.*.json")):
                unfinished.unlink()
            yield

    def checkpoint_to_continue(self) -> Path | None:
        """Return the checkpoint that the options select; None for a new run.

        Raises:
          CheckpointError: if there is no such checkpoint.
          ConfigError: if the folder of a new run holds checkpoints of another run, or the continued
            run has another configuration.
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
        """Return the checkpoint with the largest batch count; the epoch's checkpoint wins a tie.

        Modification times are not used, because copying a folder changes them.

        Raises:
          CheckpointError: if a checkpoint cannot be read.
        """
        candidates = [*find_checkpoints(self.folder)[:1], *self._epoch_files()[-1:]]
        return max(reversed(candidates), key=_batches_in, default=None)

    def _epoch_files(self) -> list[Path]:
        """Return the files ``epoch-N.pt`` by ascending N."""
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
        """Delete all but the newest ``count`` files ``checkpoint-N.pt``."""
        for path in find_checkpoints(self.folder)[count:]:
            path.unlink()

    def keep_bad_batch(self, batch: Batch, name: str, reason: str) -> Path | None:
        """Save a batch that could not be trained on; return None if enough batches are saved.

        The file holds the fields of `calve.protocols.Batch` and the reason.
        """
        folder = self.folder / "bad-batches"
        if folder.is_dir() and len(list(folder.glob("*.pt"))) >= _MOST_BAD_BATCHES_KEPT:
            return None
        path = folder / f"{name}.pt"
        with atomic_file(path) as temporary:
            torch.save({**vars(batch), "reason": reason}, temporary)
        return path

    def copy_as(self, source: Path, name: str) -> None:
        """Copy a checkpoint to another name in the same folder."""
        with atomic_file(self.folder / name) as temporary:
            shutil.copyfile(source, temporary)

    @contextmanager
    def logging(self, processes: Processes) -> Iterator[None]:
        """Write the messages of `LOGGER` inside the block to a file in ``log/``.

        Warnings and announcements are also shown on stderr. Each process of distributed training
        has its own file.

        Raises:
          CalveError: if the file cannot be created, or a line cannot be written later.
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
                with suppress(OSError):  # The error was reported when the line was written.
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
    """A log file that ends the run on a full disk instead of printing a traceback per line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
            return
        with writing_explained("the log", Path(self.baseFilename), SPACE_FIX):
            raise


class _Console(logging.Handler):
    """Writes to the current stderr, which a progress bar replaces to stay below the lines."""

    def emit(self, record: logging.LogRecord) -> None:
        print_to_stderr(self.format(record))  # If stderr is closed, the line is still in the log.


def _batches_in(checkpoint: Path) -> int:
    """Return the number of batches before a checkpoint; -1 if it is not recorded."""
    batches = read_checkpoint(checkpoint).get("batch_idx_train")
    return batches if isinstance(batches, int) else -1


def _is_for_console(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or getattr(record, _ANNOUNCED, False)


def announce(message: str, *arguments: object) -> None:
    """Write a line to the log and to stderr."""
    LOGGER.info(message, *arguments, extra={_ANNOUNCED: True})


def _plain(options: Any) -> dict[str, Any]:
    """Return a dataclass as the dict that its JSON would be read as."""
    return json.loads(json.dumps(asdict(options), default=str))  # type: ignore[no-any-return]


def _fixed_options(options: Any) -> dict[str, Any]:
    """Return the options that must not change when a run is continued, with their defaults.

    All options are fixed unless their field says otherwise.
    """
    return {
        field.name: None if field.default is MISSING else field.default
        for field in fields(options)
        if field.metadata.get("fixed", True)
    }


def _differences(
    saved: Mapping[str, Any], current: Mapping[str, Any], fixed: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Yield "name was A, is B" for each fixed option that changed.

    If the configuration of the old run lacks an option, it was trained with the default. A table
    that the old configuration lacks is not compared.
    """
    pairs = [("recipe", saved.get("recipe"), current["recipe"])]
    for table, defaults in fixed.items():
        if table not in saved:
            continue
        before = {**defaults, **saved[table]}
        pairs += [(name, before[name], current[table].get(name)) for name in defaults]
    return [f"{name} was {before!r}, is {now!r}" for name, before, now in pairs if before != now]
