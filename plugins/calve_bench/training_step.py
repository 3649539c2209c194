"""The time of a training step, split into its parts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from calve.api import ConfigError
from calve.common.measuring import Contender, in_turns
from calve.common.progress import NO_PROGRESS, Progress
from calve.common.torch_threads import torch_threads
from calve.data.features import compute_fbank
from calve.protocols import Batch
from calve.protocols.loading import WHOLE
from calve.services import ModelBuilder, load_driver
from calve_transducer.training.config import TrainingConfig
from calve_transducer.training.processes import Processes
from calve_transducer.training.state import TrainingState
from calve_transducer.training.step import BadBatchError, TrainingStep

__all__ = ["PARTS", "Noise", "StepTimes", "benchmark_step"]

PARTS = ("data", "encoder", "loss", "optimizer")

_SAMPLING_RATE = 16000


class Noise:
    """An endless `calve.protocols.BatchLoader` of white noise with random transcripts.

    Each batch has the same audio; its features are computed for each batch.

    Args:
      batch_size: Utterances in a batch.
      seconds: Length of each.
      symbols: Number of symbols in each.
      vocab_size: Size of the vocabulary.
    """

    def __init__(self, batch_size: int, seconds: float, symbols: int, vocab_size: int) -> None:
        shape = (batch_size, round(seconds * _SAMPLING_RATE))
        self._recordings = 0.1 * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        self._symbols = symbols
        self._vocab_size = vocab_size
        self._index = 0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            random = np.random.default_rng(self._index)
            self._index += 1
            matrices = [compute_fbank(recording) for recording in self._recordings]
            features = torch.from_numpy(np.stack(matrices))
            lens = torch.full((len(matrices),), features.shape[1])
            size = (len(matrices), self._symbols)
            tokens = random.integers(1, self._vocab_size, size).tolist()
            names = [f"noise-{self._index}-{row}" for row in range(len(matrices))]
            yield Batch(features, lens, tokens, names)

    def set_epoch(self, epoch: int) -> None:
        self._index = 0

    def state_dict(self) -> dict[str, Any]:
        return {"index": self._index}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._index = state["index"]


@dataclass(frozen=True)
class StepTimes:
    """Time of the fastest step; slower steps are disturbed by other work on the machine.

    Attributes:
      seconds: By part: making the batch from audio; the encoder, forward and backward; decoder,
        joiner and losses, forward and backward; norm of the gradient and optimizer.
      total: The whole step.
      processor: Smallest processor time of a step, over all threads; other work on the machine
        hardly affects it.
      parameters: Number of parameters of the model.
    """

    seconds: Mapping[str, float]
    total: float
    processor: float
    parameters: int


def benchmark_step(
    recipe: str,
    options: Mapping[str, Mapping[str, Any]],
    *,
    config: TrainingConfig | None = None,
    batch_size: int = 16,
    seconds: float = 4.0,
    symbols: int = 12,
    steps: int = 5,
    progress: Progress = NO_PROGRESS,
) -> StepTimes:
    """Train a new model on noise, after its warm-up, and time the parts of each step.

    Args:
      recipe: Name of the recipe.
      options: Of its encoder and model, by table.
      config: Training options; the device is always the CPU.
      batch_size: Utterances in a batch.
      seconds: Length of each.
      symbols: Symbols in each.
      steps: Steps to time, after one that is not counted.
      progress: Where to say how far it is.

    Raises:
      ConfigError: if the options are impossible.
      PluginError: if the recipe or the loss backend is unknown.
    """
    config = config or TrainingConfig()
    losses = load_driver("calve.loss_backends", config.loss_backend)()
    builder = ModelBuilder(recipe)
    configuration = builder.resolve(options)
    with torch_threads(config.num_threads or None), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = builder.build(configuration)
        loader = Noise(batch_size, seconds, symbols, configuration["model"].vocab_size)
        state = TrainingState(model, loader, config, Processes(WHOLE, torch.device("cpu")))
        state.numbers.batch_idx_train = 2 * config.model_warm_step
        measured_step = _MeasuredStep(TrainingStep(state, config, losses), state, loader)
        contender = Contender("step", measured_step.run)
        (runs,) = in_turns([contender], steps, warm_up=1, title="train", progress=progress)
    fastest = min((run.seconds for run in runs), key=lambda parts: sum(parts.values()))
    return StepTimes(
        seconds=fastest,
        total=sum(fastest.values()),
        processor=min(run.processor for run in runs),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


@dataclass(frozen=True)
class _StepRun:
    """One step: wall time of its parts, and processor time of all threads."""

    seconds: Mapping[str, float]
    processor: float


class _MeasuredStep:
    """Trains on the next batch of a loader and times the parts."""

    def __init__(self, step: TrainingStep, state: TrainingState, loader: Noise) -> None:
        self._step = step
        self._watch = _Stopwatch(state)
        self._batches = iter(loader)

    def run(self) -> _StepRun:
        self._watch.start()
        started = time.process_time()
        batch = next(self._batches)
        self._watch.mark("data")
        _train(self._step, batch)
        self._watch.mark("optimizer")
        return _StepRun(self._watch.seconds, time.process_time() - started)


def _train(step: TrainingStep, batch: Batch) -> None:
    try:
        step.finish(step.forward(batch))
    except BadBatchError as error:
        raise ConfigError(
            f"the model cannot be trained on the noise: {error}",
            where="--seconds, --symbols",
            fix="give longer utterances, or fewer symbols",
        ) from error


class _Stopwatch:
    """Measures the parts of a step: each mark assigns the time since the last mark to a part.

    Args:
      state: The training state; its encoder and its backward pass set marks.
    """

    def __init__(self, state: TrainingState) -> None:
        encoder: nn.Module = state.model.encoder  # type: ignore[assignment]
        encoder.register_forward_pre_hook(lambda module, inputs: self.mark("loss"))
        encoder.register_forward_hook(self._leave_encoder)
        self._backward = state.precision.backward
        state.precision.backward = self._whole_backward  # type: ignore[method-assign]
        self.start()

    def start(self) -> None:
        """Begin a step."""
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._last = time.perf_counter()

    def mark(self, part: str) -> None:
        """Assign the time since the last mark to ``part``."""
        now = time.perf_counter()
        self.seconds[part] += now - self._last
        self._last = now

    def _leave_encoder(self, module: nn.Module, inputs: Any, outputs: tuple[Tensor, ...]) -> None:
        self.mark("encoder")
        # The gradient arrives here after the backward pass of everything behind the encoder.
        outputs[0].register_hook(lambda grad: self.mark("loss"))  # type: ignore[no-untyped-call]

    def _whole_backward(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        self._backward(loss, optimizer)
        self.mark("encoder")
