"""Speed and memory of a bundle, measured in child processes.

Every run loads the model anew in a process of its own, so that neither a warm cache nor another
runtime's memory changes the figures. `calve.common.measuring` says how contenders are compared.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from calve.bundles.bundle import GOLDEN_FILE, Bundle
from calve.bundles.golden import Golden
from calve.bundles.trial import try_bundle
from calve.common.files import scratch_folder
from calve.common.measuring import (
    Contender,
    MeasuringError,
    in_turns,
    median_ratio,
    run_measurement,
)
from calve.common.progress import NO_PROGRESS, Progress
from calve.common.suggest import did_you_mean
from calve.data.audio import audio_duration
from calve.errors import BundleError, PluginError
from calve.exporting.benchmark_child import BundleMeasurement, BundleTask
from calve.registry.catalog import registry
from calve.registry.claims import claimed_clients
from calve.registry.specs import ClientSpec

__all__ = ["BenchmarkRow", "benchmark"]

OWN = "calve"
_LONG_CHUNK_MS = 640
_CHILD = (sys.executable, "-m", "calve.exporting.benchmark_child")
_BASE_TIME_LIMIT = 240.0
_MAX_RTF = 40.0
"""Both are twice what a client's own child process is allowed, so that the client ends first."""


@dataclass(frozen=True)
class BenchmarkRow:
    """All runs of one contender.

    Attributes:
      runtime: "calve", or the client's name.
      bundle: The bundle that it ran.
      chunk_ms: Milliseconds of audio per chunk, None if the client decides.
      load_seconds: Median over the runs.
      rtf: Median of decoding seconds per second of audio.
      step_p50_ms: Median time that a chunk took, in milliseconds; None where it cannot be seen.
      step_p95_ms: Its 95th percentile.
      peak_mb: Median of the peak memory.
      ratio: Median, over the turns, of its decoding time by that of what it is compared with;
        None if with nothing.
    """

    runtime: str
    bundle: str
    chunk_ms: int | None
    load_seconds: float
    rtf: float
    step_p50_ms: float | None
    step_p95_ms: float | None
    peak_mb: float
    ratio: float | None


def benchmark(
    path: str | PathLike[str],
    recordings: Sequence[Path] = (),
    *,
    chunk_ms: Sequence[int] = (),
    against: str | None = None,
    client_bundle: str | PathLike[str] | None = None,
    num_threads: int = 1,
    runs: int = 3,
    progress: Progress = NO_PROGRESS,
) -> list[BenchmarkRow]:
    """Measure a bundle.

    Args:
      path: The bundle.
      recordings: What to transcribe; the bundle's golden recording by default.
      chunk_ms: Chunk lengths to measure; by default the bundle's own and, if the network is
        dynamic, the multiple of it nearest to 640 ms.
      against: Name of a client to compare with; "calve" for calve itself, which steps by the
        other bundle's own chunk.
      client_bundle: What the client runs, if not the same bundle.
      num_threads: CPU threads for each contender.
      runs: Turns; each contender runs once in each.
      progress: Where to say how far it is.

    Raises:
      BundleError: if the bundle cannot be opened or does not stream, or a contender fails on it.
      AudioError: if a recording cannot be read.
      ConfigError: if a chunk length is impossible.
      PluginError: if the client is unknown or not installed.
    """
    bundle = _opened(path, num_threads)
    lengths = chunk_ms or _default_chunk_lengths(bundle)
    tasks = [_task(bundle, OWN, length, num_threads) for length in lengths]
    if against is not None:
        theirs = bundle if client_bundle is None else _opened(client_bundle, num_threads)
        tasks.append(_opponent(theirs, against, num_threads))
    with scratch_folder("calve-bench-") as folder:
        paths = [Path(os.path.realpath(path)) for path in recordings] or [
            _golden_wav(bundle, folder)
        ]
        seconds = _audio_seconds(paths) + len(paths) * bundle.tail_seconds
        tasks = [replace(task, paths=tuple(map(str, paths))) for task in tasks]
        contenders = [_contender(task, seconds) for task in tasks]
        measured = in_turns(contenders, runs, progress=progress)
    baseline = measured[-1] if against is not None else None
    return [_row(task, found, baseline) for task, found in zip(tasks, measured, strict=True)]


def _opened(path: str | PathLike[str], num_threads: int) -> Bundle:
    bundle = Bundle.open(path)
    bundle.check_streaming()
    try_bundle(bundle, num_threads=num_threads)
    return bundle


def _default_chunk_lengths(bundle: Bundle) -> list[int]:
    geometry = bundle.manifest.geometry
    longer = (
        [round(_LONG_CHUNK_MS / geometry.frame_ms) * geometry.frame_ms] if geometry.dynamic else []
    )
    return list(dict.fromkeys([geometry.chunk_ms, *longer]))


def _task(bundle: Bundle, runtime: str, chunk_ms: int | None, num_threads: int) -> BundleTask:
    if chunk_ms is not None:
        bundle.manifest.geometry.with_chunk_ms(chunk_ms)
    return BundleTask(str(bundle.path), (), runtime, chunk_ms, num_threads)


def _opponent(bundle: Bundle, name: str, num_threads: int) -> BundleTask:
    if name == OWN:
        return _task(bundle, OWN, bundle.manifest.geometry.chunk_ms, num_threads)
    return _task(bundle, _client(bundle, name).name, None, num_threads)


def _client(bundle: Bundle, name: str) -> ClientSpec:
    clients = {c.name: c for c in registry().exporters.get(bundle.manifest.format).clients}
    if name not in clients:
        raise PluginError(
            f"{bundle.manifest.format} bundles have no client {name!r}",
            fix=did_you_mean(name, clients) or f"clients: {', '.join(clients) or 'none'}",
        )
    if clients[name] not in claimed_clients(bundle.manifest.encoder, bundle.manifest.format):
        raise BundleError(
            f"{name} does not know the encoder {bundle.manifest.encoder!r}", where=bundle.path
        )
    if not clients[name].is_installed:
        extra = clients[name].extra
        raise PluginError(f"{name} is not installed", fix=f"pip install 'calve[{extra}]'")
    return clients[name]


def _golden_wav(bundle: Bundle, folder: Path) -> Path:
    path = folder / "golden.wav"
    Golden.read(bundle.path / GOLDEN_FILE).write_wav(path)
    return path


def _audio_seconds(paths: Sequence[Path]) -> float:
    """Length of all recordings; a bad one is named before anything is measured."""
    return sum(map(audio_duration, paths))


def _contender(task: BundleTask, audio_seconds: float) -> Contender[BundleMeasurement]:
    time_limit = _BASE_TIME_LIMIT + _MAX_RTF * audio_seconds
    name = f"{task.runtime} {task.chunk_ms or ''}"
    return Contender(name, lambda: _in_child(task, time_limit))


def _in_child(task: BundleTask, time_limit: float) -> BundleMeasurement:
    entries: dict[str, Any] = {**asdict(task), "bundle": str(Path(task.bundle).resolve())}
    try:
        found = run_measurement(task.runtime, _CHILD, entries, time_limit=time_limit)
    except MeasuringError as error:
        raise BundleError(str(error), where=task.bundle) from error
    return BundleMeasurement(**found)


def _row(
    task: BundleTask,
    runs: Sequence[BundleMeasurement],
    baseline: Sequence[BundleMeasurement] | None,
) -> BenchmarkRow:
    steps = [milliseconds for run in runs for milliseconds in run.step_ms]
    p50, p95 = np.percentile(steps, [50, 95]).tolist() if steps else (None, None)
    return BenchmarkRow(
        runtime=task.runtime,
        bundle=task.bundle,
        chunk_ms=task.chunk_ms,
        load_seconds=median(run.load_seconds for run in runs),
        rtf=median(run.decode_seconds / run.duration for run in runs),
        step_p50_ms=p50,
        step_p95_ms=p95,
        peak_mb=median(run.peak_mb for run in runs),
        ratio=None if baseline is None else median_ratio(_seconds(runs), _seconds(baseline)),
    )


def _seconds(runs: Sequence[BundleMeasurement]) -> list[float]:
    return [run.decode_seconds for run in runs]
