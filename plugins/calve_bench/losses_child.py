"""Time and memory of one loss backend, measured in its own process.

The program imports the standard library, torch and the backend and nothing else, and is run as a
file, so that backends can be measured in other environments: k2's last wheel on PyPI needs Python
3.9. It reads a `LossTask` as JSON from stdin and writes a `LossMeasurement` as JSON to the file
that its argument names.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

_JOINER_DIM = 512
_PRUNE_RANGE = 5
_LM_SCALE = 0.25
_SIMPLE_LOSS_SCALE = 0.5


@dataclass(frozen=True)
class LossTask:
    """The measurement to make.

    Attributes:
      backend: ``module:attribute``, or ``/path/to/file.py:attribute``.
      steps: Steps to time, after one that is not counted.
    """

    backend: str
    vocab_size: int
    num_threads: int
    steps: int
    batch_size: int = 8
    frames: int = 250
    symbols: int = 60


@dataclass(frozen=True)
class LossMeasurement:
    """The measurement of one process.

    Attributes:
      seconds: Time of the fastest step; slower steps are disturbed by other work on the machine.
      peak_mb: Largest additional memory of a step.
      loss: The loss, for the comparison of backends.
    """

    seconds: float
    peak_mb: float
    loss: float


class LossStep:
    """Both losses of pruned transducer training on random network outputs, and their gradients."""

    def __init__(self, task: LossTask) -> None:
        self.losses = _load(task.backend)
        torch.manual_seed(0)
        shape = (task.batch_size, task.frames, _JOINER_DIM)
        self.encoder_out = torch.randn(*shape, requires_grad=True)
        self.decoder_out = torch.randn(
            task.batch_size, task.symbols + 1, _JOINER_DIM, requires_grad=True
        )
        self.symbols = torch.randint(1, task.vocab_size, (task.batch_size, task.symbols))
        ends = torch.tensor([0, 0, task.symbols, task.frames])
        self.boundary = ends.expand(task.batch_size, 4).contiguous()
        self.simple_am, self.simple_lm, self.output = (
            torch.nn.Linear(_JOINER_DIM, task.vocab_size) for _ in range(3)
        )

    def __call__(self) -> float:
        """Run one step; return the loss."""
        simple_loss, (px_grad, py_grad) = self.losses.rnnt_loss_smoothed(
            lm=self.simple_lm(self.decoder_out),
            am=self.simple_am(self.encoder_out),
            symbols=self.symbols,
            termination_symbol=0,
            lm_only_scale=_LM_SCALE,
            am_only_scale=0.0,
            boundary=self.boundary,
            reduction="sum",
            return_grad=True,
        )
        ranges = self.losses.get_rnnt_prune_ranges(px_grad, py_grad, self.boundary, _PRUNE_RANGE)
        am, lm = self.losses.do_rnnt_pruning(
            am=self.encoder_out, lm=self.decoder_out, ranges=ranges
        )
        pruned_loss = self.losses.rnnt_loss_pruned(
            logits=self.output(torch.tanh(am + lm)),
            symbols=self.symbols,
            ranges=ranges,
            termination_symbol=0,
            boundary=self.boundary,
            reduction="sum",
        )
        loss = _SIMPLE_LOSS_SCALE * simple_loss + pruned_loss
        loss.backward()
        return float(loss.item())


def measure(task: LossTask) -> LossMeasurement:
    """Run the steps of a task."""
    torch.set_num_threads(task.num_threads)
    step = LossStep(task)
    _forget_peak()
    before = _peak_mb()
    loss = step()
    seconds = []
    for _ in range(task.steps):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return LossMeasurement(min(seconds), _peak_mb() - before, loss)


def _load(reference: str) -> Any:
    module_name, _, attribute = reference.rpartition(":")
    if not module_name.endswith(".py"):
        return getattr(importlib.import_module(module_name), attribute)
    spec = importlib.util.spec_from_file_location("loss_backend", module_name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, attribute)


def _forget_peak() -> None:
    """Reset Linux's counter of the peak of resident memory."""
    with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123
        file.write("5")


def _peak_mb() -> float:
    with open("/proc/self/status") as file:  # noqa: PTH123
        (line,) = (line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    measurement = measure(LossTask(**json.load(sys.stdin)))
    with open(sys.argv[1], "w", encoding="utf-8") as result:  # noqa: PTH123
        json.dump(asdict(measurement), result)
