"""Loss backends against one another, each measured in processes of its own, in turns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from calve.api import CalveError, PluginError
from calve.common.progress import NO_PROGRESS, Progress
from calve_transducer import loss_benchmark_child
from calve_transducer.loss_benchmark_child import Measurement, Task

__all__ = ["LossRow", "benchmark_losses"]

_STEPS = 3


@dataclass(frozen=True)
class LossRow:
    """All runs of one backend on one vocabulary.

    Attributes:
      seconds: Median over the runs of the fastest step, forward and backward.
      peak_mb: Median of the memory that a step needs.
      ratio: Median, over the turns, of its time by the other backend's; None without another.
      memory_ratio: The same of its memory.
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
      against: Another one to compare with.
      python: The interpreter that runs it, if it does not run in this environment.
      vocab_sizes: Vocabularies to measure.
      num_threads: CPU threads for each.
      runs: Turns; each backend runs once in each.
      progress: Where to say how far it is.

    Raises:
      PluginError: if a backend is unknown.
      CalveError: if one fails.
    """
    contenders = [(backend, Path(sys.executable), _reference(backend))]
    if against is not None:
        contenders.append((against, python or Path(sys.executable), _reference(against, python)))
    progress.start("measure", total=len(vocab_sizes) * runs * len(contenders))
    rows: list[LossRow] = []
    for vocab_size in vocab_sizes:
        measured: list[list[Measurement]] = [[] for _ in contenders]
        for _ in range(runs):
            for (name, interpreter, reference), found in zip(contenders, measured, strict=True):
                task = Task(reference, vocab_size, num_threads, _STEPS)
                found.append(_in_child(name, interpreter, task))
                progress.advance(note=f"{name}, {vocab_size} symbols")
        rows += _rows([name for name, _, _ in contenders], vocab_size, measured)
    progress.finish()
    return rows


def _reference(backend: str, python: Path | None = None) -> str:
    """How a child imports a backend; in another environment by its file, since calve is not there.

    The backend is not imported to find out.
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


def _in_child(name: str, python: Path, task: Task) -> Measurement:
    # Isolated, so that the folder of the file does not shadow packages of the same names.
    command = [str(python), "-I", loss_benchmark_child.__file__]
    try:
        finished = subprocess.run(
            command, input=json.dumps(asdict(task)), capture_output=True, text=True
        )
    except OSError as error:
        raise CalveError(f"cannot run it: {error.strerror}", where=python) from error
    if finished.returncode != 0:
        raise CalveError(
            f"the loss backend {name} failed: {_last_line(finished.stderr)}",
            where=python,
            fix=f"give --python of an environment that has {name}, for example k2 1.23.2 with "
            "Python 3.9 and torch 1.12.1",
        )
    return Measurement(**json.loads(finished.stdout))


def _last_line(log: str) -> str:
    return (log.strip().splitlines() or ["it printed nothing"])[-1]


def _rows(
    names: Sequence[str], vocab_size: int, measured: Sequence[Sequence[Measurement]]
) -> list[LossRow]:
    others = measured[1] if len(measured) > 1 else None
    rows = []
    for name, runs in zip(names, measured, strict=True):
        pairs = list(zip(runs, others, strict=True)) if others else []
        rows.append(
            LossRow(
                backend=name,
                vocab_size=vocab_size,
                seconds=median(run.seconds for run in runs),
                peak_mb=median(run.peak_mb for run in runs),
                ratio=median(a.seconds / b.seconds for a, b in pairs) if pairs else None,
                memory_ratio=median(a.peak_mb / b.peak_mb for a, b in pairs) if pairs else None,
            )
        )
    return rows
