"""Training on a made-up corpus, in this process or in some that are started, killed and continued.

Every symbol is a hum in a band of its own. Run as a script, it trains as its arguments say:
``hum_training.py EXP_DIR OPTIONS``, where the options are JSON of what `hum_run` takes.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from calve.common.progress import NO_PROGRESS
from calve.models.loading import ModelBuilder
from calve.protocols import Batch, TrainingRun
from calve.protocols.loading import WHOLE, LoaderOptions, Shard
from calve.protocols.training import TrainingData
from calve.training.launching import own_shard
from calve_transducer.layers.scaling import ScaledLSTM
from calve_transducer.training.config import TrainingConfig
from calve_transducer.training.trainer import train

RECIPE = "lstm_transducer_stateless2"
BATCHES_PER_EPOCH = 8

_UTTERANCES = 4
_FRAMES_PER_SYMBOL = 16
_LSTM = {
    **{"num_encoder_layers": 2, "encoder_dim": 16, "rnn_hidden_size": 24, "dim_feedforward": 24},
    **{"conv_layer1_channels": 2, "conv_layer2_channels": 3, "conv_layer3_channels": 4},
}
_MODEL = {"vocab_size": 6, "decoder_dim": 16, "joiner_dim": 16}
_DATA = TrainingData("hums", Path("here"))
_TIMES = ("seconds", "utterances_per_second")

Metrics = dict[int, dict[str, float]]
Change = Callable[[int, Batch], Batch]
OnMetrics = Callable[[int, dict[str, float]], None]


def unchanged(index: int, batch: Batch) -> Batch:
    return batch


class Hums:
    """A `calve.protocols.BatchLoader` whose batches follow from epoch and index."""

    def __init__(
        self, change: Change = unchanged, shard: Shard = WHOLE, batches: int = BATCHES_PER_EPOCH
    ) -> None:
        self._epoch = self._index = 0
        self._batches = batches
        self._change = change
        self._shard = shard

    def __iter__(self) -> Iterator[Batch]:
        while self._index < self._batches:
            batch = own_rows(self._change(self._index, self._batch()), self._shard)
            self._index += 1
            yield batch

    def set_epoch(self, epoch: int) -> None:
        self._epoch, self._index = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "index": self._index}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._epoch, self._index = state["epoch"], state["index"]

    def largest_batches(self) -> Iterator[Batch]:
        yield self._batch()

    def _batch(self) -> Batch:
        generator = torch.Generator().manual_seed(1000 * self._epoch + self._index)
        lens = torch.randint(2, 5, (_UTTERANCES,), generator=generator).tolist()
        tokens = [torch.randint(1, 6, (n,), generator=generator).tolist() for n in lens]
        frames = [_FRAMES_PER_SYMBOL * n + 9 for n in lens]
        features = torch.full((_UTTERANCES, max(frames), 80), math.log(1e-10))
        for row, symbols in enumerate(tokens):
            features[row, : frames[row]] = torch.randn(frames[row], 80, generator=generator) - 8
            for position, symbol in enumerate(symbols):
                start = 4 + _FRAMES_PER_SYMBOL * position
                features[row, start : start + 10, 12 * symbol : 12 * symbol + 12] += 8
        ids = [f"hum-{self._epoch}-{self._index}-{row}" for row in range(_UTTERANCES)]
        return Batch(features, torch.tensor(frames), tokens, ids)


def own_rows(batch: Batch, shard: Shard) -> Batch:
    """The utterances of one of several processes, padded no longer than they need."""
    rows = slice(shard.rank, None, shard.world_size)
    lens = batch.feature_lens[rows]
    return replace(
        batch,
        features=batch.features[rows, : int(lens.max())],
        feature_lens=lens,
        tokens=batch.tokens[rows],
        cut_ids=batch.cut_ids[rows],
    )


def with_nan(indexes: set[int]) -> Change:
    """A NaN in the second utterance of the batches of these indexes."""

    def change(index: int, batch: Batch) -> Batch:
        if index not in indexes:
            return batch
        features = batch.features.clone()
        features[1, 5, 5] = math.nan
        return replace(batch, features=features)

    return change


def too_short(batch: Batch) -> Batch:
    """The batch with three frames of each utterance."""
    lens = torch.full_like(batch.feature_lens, 3)
    return replace(batch, features=batch.features[:, :3], feature_lens=lens)


def hum_run(
    exp_dir: Path,
    *,
    change: Change = unchanged,
    on_metrics: OnMetrics = lambda step, metrics: None,
    encoder: Mapping[str, Any] | None = None,
    max_duration: float = 200.0,
    data: TrainingData = _DATA,
    missing_batches: int = 0,
    **options: Any,
) -> TrainingRun:
    torch.set_num_threads(1)
    defaults = {"num_epochs": 1, "model_warm_step": 4, "log_interval": 1, "average_period": 2}
    training = TrainingConfig(**{**defaults, **options})
    builder = ModelBuilder(RECIPE)
    configuration = builder.resolve({"encoder": {**_LSTM, **(encoder or {})}, "model": _MODEL})
    torch.manual_seed(training.seed)
    shard = own_shard()
    return TrainingRun(
        model=builder.build(configuration),
        recipe=RECIPE,
        configuration={
            **configuration,
            "training": training,
            "loading": LoaderOptions(max_duration=max_duration),
            "data": data,
        },
        train=Hums(change, shard, BATCHES_PER_EPOCH - missing_batches),
        valid=Hums(shard=shard),
        exp_dir=exp_dir,
        progress=NO_PROGRESS,
        on_metrics=on_metrics,
    )


def train_hums(exp_dir: Path, **options: Any) -> Metrics:
    """Train and return the metrics of each step, without those that are times."""
    found: Metrics = {}

    def collect(step: int, metrics: dict[str, float]) -> None:
        found.setdefault(step, {}).update(_without_times(metrics))

    train(hum_run(exp_dir, on_metrics=collect, **options))
    return found


def metrics_file(exp_dir: Path) -> Path:
    """Where a script's metrics go, a line for each report."""
    return exp_dir.with_suffix(".jsonl")


def read_metrics(exp_dir: Path) -> list[tuple[int, dict[str, float]]]:
    return [tuple(json.loads(line)) for line in metrics_file(exp_dir).read_text().splitlines()]


def train_as_told(
    exp_dir: Path,
    *,
    nan_in: tuple[int, ...] = (),
    too_short_in: tuple[int, ...] = (),
    missing_batches: int = 0,
    kill_after: int | None = None,
    independent: bool = False,
    **options: Any,
) -> None:
    """Train and append the metrics to a file.

    Args:
      nan_in: Indexes of batches that have a NaN.
      too_short_in: Indexes of batches that are too short in the last of several processes.
      missing_batches: How many batches the last of several processes has less than the others.
      kill_after: The last of several processes is killed when it asks for the batch of this index,
        unless torchrun has started it anew.
      independent: Whether an utterance's gradient must not depend on chance, nor on what else its
        process has in the batch: no dropout, no activation balancer, no gradient filter.
    """
    if independent:
        options["encoder"] = {"dropout": 0.0, "layer_dropout": 0.0}
        random.random = lambda: 1.0

    shard = own_shard()
    is_last = shard.rank == shard.world_size - 1

    def append(step: int, metrics: dict[str, float]) -> None:
        line = json.dumps((step, _without_times(metrics))) + "\n"
        with metrics_file(exp_dir).open("ab", buffering=0) as file:
            file.write(line.encode())

    def change(index: int, batch: Batch) -> Batch:
        restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
        if index == kill_after and is_last and not restarts:
            os.kill(os.getpid(), signal.SIGKILL)
        if index in too_short_in and is_last:
            return too_short(batch)
        return with_nan(set(nan_in))(index, batch)

    run = hum_run(
        exp_dir,
        change=change,
        on_metrics=append,
        missing_batches=missing_batches if is_last else 0,
        **options,
    )
    if independent:
        for module in run.model.modules():
            if isinstance(module, ScaledLSTM):
                module.grad_norm_threshold = 1e9
    train(run)


def train_in_a_fork(exp_dir: Path, **options: Any) -> int:
    """Begin to train in a process of its own, and return its number."""
    child = os.fork()
    if child:
        return child
    try:
        train_as_told(exp_dir, **options)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


def _without_times(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name not in _TIMES}


if __name__ == "__main__":
    train_as_told(Path(sys.argv[1]), **json.loads(sys.argv[2]))
