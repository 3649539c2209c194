"""Child process that measures a bundle once.

A `BundleTask` arrives as JSON on stdin; the `BundleMeasurement` goes to the file that the only
argument names, because native code may write to stdout.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from calve.bundles.bundle import Bundle
from calve.data.audio import read_audio
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.errors import CalveError
from calve.registry.catalog import registry

__all__ = ["BundleMeasurement", "BundleTask", "main"]


@dataclass(frozen=True)
class BundleTask:
    """The measurement to make.

    Attributes:
      bundle: The bundle's directory.
      paths: Recordings.
      runtime: "calve", or the name of a client.
      chunk_ms: Milliseconds of audio per chunk; None for a client, which decides itself.
      num_threads: CPU threads.
    """

    bundle: str
    paths: tuple[str, ...]
    runtime: str
    chunk_ms: int | None
    num_threads: int


@dataclass(frozen=True)
class BundleMeasurement:
    """The measurement of one run.

    Attributes:
      load_seconds: Time until the networks are ready, without a first step that compiles code.
      decode_seconds: Time for all recordings, including their tail padding.
      duration: Seconds of audio in the recordings.
      step_ms: Milliseconds of each chunk, if the runtime shows them.
      peak_mb: Peak resident memory in 2^20 bytes.
    """

    load_seconds: float
    decode_seconds: float
    duration: float
    step_ms: list[float]
    peak_mb: float


def measure_own(task: BundleTask) -> BundleMeasurement:
    """Measure calve's own runtime, which receives one chunk of audio at a time."""
    started = time.perf_counter()
    bundle = Bundle.open(task.bundle)
    recognizer = OnlineRecognizer.from_bundle(
        bundle, chunk_ms=task.chunk_ms, num_threads=task.num_threads
    )
    load_seconds = time.perf_counter() - started
    recognizer.warm_up()
    step_ms = []
    decode_seconds = duration = 0.0
    for path in task.paths:
        audio = read_audio(path, recognizer.features.sample_rate)
        samples_per_step = audio.sample_rate * recognizer.geometry.chunk_ms // 1000
        steps = np.split(
            audio.samples, range(samples_per_step, len(audio.samples), samples_per_step)
        )
        duration += audio.duration
        stream = recognizer.stream()
        started = time.perf_counter()
        for samples in steps:
            before = time.perf_counter()
            stream.accept(samples)
            step_ms.append(1000 * (time.perf_counter() - before))
        stream.finish()
        decode_seconds += time.perf_counter() - started
    return BundleMeasurement(load_seconds, decode_seconds, duration, step_ms, _own_peak_mb())


def measure_client(task: BundleTask) -> BundleMeasurement:
    """Measure a client, which runs in a child of this process."""
    bundle = Bundle.open(task.bundle)
    clients = registry().exporters.get(bundle.manifest.format).clients
    client = next(client for client in clients if client.name == task.runtime)
    results = client.transcribe.load()(
        bundle.path,
        [Path(path) for path in task.paths],
        num_threads=task.num_threads,
        tail_seconds=bundle.tail_seconds,
    )
    return BundleMeasurement(
        load_seconds=results[0].load_seconds,
        decode_seconds=sum(result.decode_seconds for result in results),
        duration=sum(result.duration for result in results),
        step_ms=[],
        peak_mb=_megabytes(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss),
    )


def _own_peak_mb() -> float:
    """Return the peak of this process image; getrusage would include the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return _megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _megabytes(maxrss: int) -> float:
    # Linux counts in KiB, macOS in bytes.
    return maxrss / 2**20 if sys.platform == "darwin" else maxrss / 1024


def main() -> None:
    """Run the task from stdin."""
    task = BundleTask(**json.load(sys.stdin))
    try:
        measurement = measure_own(task) if task.runtime == "calve" else measure_client(task)
    except CalveError as error:
        sys.exit(str(error))  # The end of the log is shown, and a traceback would hide the reason.
    Path(sys.argv[1]).write_text(json.dumps(asdict(measurement)), encoding="utf-8")


if __name__ == "__main__":
    main()
