"""Speed and memory of loss backends; each run has its own process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from calve.api import CalveError, PluginError
from calve.common.measuring import (
    Contender,
    MeasuringError,
    in_turns,
    median_ratio,
    run_measurement,
)
from calve.common.progress import NO_PROGRESS, Progress
from calve_bench import losses_child
from calve_bench.losses_child import LossMeasurement, LossTask

__all__ = ["LossRow", "benchmark_losses"]

_STEPS = 3
_TIME_LIMIT = 3600.0


@dataclass(frozen=True)
class LossRow:
    """All runs of one backend on one vocabulary.

    Attributes:
      seconds: Median over the runs of the fastest step, forward and backward.
      peak_mb: Median of the memory that a step needs.
      ratio: Median, over the turns, of its time by the other backend's; None without another.
      memory_ratio: The same for the memory.
    """

    backend: str
    vocab_size: int
    seconds: float
    peak_mb: float
    ratio: float | None
    memory_ratio: float | None


def benchmark_losses(
    backend: str,
    *,
    against: str | None = None,
    python: Path | None = None,
    vocab_sizes: Sequence[int] = (500, 5000),
    num_threads: int = 1,
    runs: int = 3,
    progress: Progress = NO_PROGRESS,
) -> list[LossRow]:
    """Measure both losses of pruned training and their gradients.

    The work is 8 utterances of 250 encoder frames and 60 symbols, on joiners of 512 dimensions.

    Args:
      backend: A driver in ``calve.loss_backends``.
      against: A backend to compare with.
      python: The interpreter for ``against`` if that does not run in this environment.
      vocab_sizes: Vocabularies to measure.
      num_threads: CPU threads for each.
      runs: Turns; each backend runs once in each.
      progress: Receives the progress.

    Raises:
      PluginError: if a backend is unknown.
      CalveError: if one fails.
    """
    backends = [(backend, Path(sys.executable), _reference(backend))]
    if against is not None:
        backends.append((against, python or Path(sys.executable), _reference(against, python)))
    contenders = [
        _contender(name, interpreter, LossTask(reference, vocab_size, num_threads, _STEPS))
        for vocab_size in vocab_sizes
        for name, interpreter, reference in backends
    ]
    measured = in_turns(contenders, runs, progress=progress)
    rows: list[LossRow] = []
    for number, vocab_size in enumerate(vocab_sizes):
        found = measured[number * len(backends) : (number + 1) * len(backends)]
        theirs = None if against is None else found[1]
        rows += [
            _row(name, vocab_size, ours, theirs)
            for (name, _, _), ours in zip(backends, found, strict=True)
        ]
    return rows


def _reference(backend: str, python: Path | None = None) -> str:
    """Return how a child imports a backend: in another environment by file, without calve.

    The backend itself is not imported.
    """
    found = [e for e in entry_points(group="calve.loss_backends") if e.name == backend]
    if not found:
        names = sorted({entry.name for entry in entry_points(group="calve.loss_backends")})
        raise PluginError(f"there is no loss backend {backend!r}", fix=f"one of {', '.join(names)}")
    module = found[0].module
    if python is None:
        return f"{module}:{found[0].attr}"
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise PluginError(f"the loss backend {backend!r} has no module {module}")
    return f"{spec.origin}:{found[0].attr}"


def _contender(name: str, python: Path, task: LossTask) -> Contender[LossMeasurement]:
    return Contender(f"{name}, {task.vocab_size} symbols", lambda: _in_child(name, python, task))


def _in_child(name: str, python: Path, task: LossTask) -> LossMeasurement:
    # Absolute, but not resolved: the interpreter of a virtual environment is often a link.
    # Isolated, so that the folder of the file does not shadow packages of the same names.
    command = (str(python.absolute()), "-I", losses_child.__file__)
    try:
        found = run_measurement(name, command, asdict(task), time_limit=_TIME_LIMIT)
    except OSError as error:
        raise CalveError(f"cannot run it: {error.strerror}", where=python) from error
    except MeasuringError as error:
        raise CalveError(
            f"the loss backend {error}",
            where=python,
            fix=f"give --python of an environment that has {name}, for example k2 1.23.2 with "
            "Python 3.9 and torch 1.12.1",
        ) from error
    return LossMeasurement(**found)


def _row(
    name: str,
    vocab_size: int,
    ours: Sequence[LossMeasurement],
    theirs: Sequence[LossMeasurement] | None,
) -> LossRow:
    def ratio(of: Callable[[LossMeasurement], float]) -> float | None:
        return None if theirs is None else median_ratio(list(map(of, ours)), list(map(of, theirs)))

    return LossRow(
        backend=name,
        vocab_size=vocab_size,
        seconds=median(run.seconds for run in ours),
        peak_mb=median(run.peak_mb for run in ours),
        ratio=ratio(lambda run: run.seconds),
        memory_ratio=ratio(lambda run: run.peak_mb),
    )
