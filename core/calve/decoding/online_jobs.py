"""Jobs of streaming decoding: one model on groups of streams, with real or simulated streaming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calve.common.parallel import ordered_map
from calve.common.progress import NO_PROGRESS, Progress, tracked
from calve.data.geometry import StreamingGeometry
from calve.decoding.bundle_model import BundleModel
from calve.decoding.checkpoint_model import CheckpointModel
from calve.decoding.decoded import Decoded
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.endpointing import EndpointRules
from calve.decoding.offline_decoding import decode_offline
from calve.decoding.online_decoding import StreamDecoder, StreamSearch
from calve.decoding.splits import Split
from calve.decoding.streaming_run import StreamingRun
from calve.scoring.result_files import ResultFiles, write_results

__all__ = [
    "Difference",
    "StreamingJob",
    "StreamingMethod",
    "StreamingResult",
    "first_difference",
    "run_streaming",
    "simulate",
    "write_streaming_results",
]

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class StreamingMethod:
    """A decoding method with endpoint rules.

    Attributes:
      method: The decoding method.
      endpoints: The rules; None to leave streams whole.
    """

    method: DecodingMethod
    endpoints: EndpointRules | None = None

    @property
    def key(self) -> str:
        """Its key in file names and tables."""
        return self.method.key if self.endpoints is None else f"{self.method.key}_endpointing"


@dataclass(frozen=True)
class StreamingJob:
    """Streaming decoding of one split with one model.

    Attributes:
      model: A checkpoint on the torch runtime, or a bundle on its own.
      split: The split to decode.
      methods: The methods; all share the encoder's output.
      num_streams: Largest number of parallel streams in all groups together.
      chunk_size: Encoder frames of a step; the model's own by default.
      groups: Largest number of processes, each with its own model and its share of the streams and
        the utterances.
      hotwords: Texts to count in the files.
    """

    model: CheckpointModel | BundleModel
    split: Split
    methods: tuple[StreamingMethod, ...]
    num_streams: int = 50
    chunk_size: int | None = None
    groups: int = 1
    hotwords: tuple[str, ...] = ()

    @property
    def streams_by_group(self) -> tuple[int, ...]:
        """Return the streams of each process; there are no more processes than streams."""
        groups = min(self.groups, self.num_streams)
        each, more = divmod(self.num_streams, groups)
        return tuple(each + (group < more) for group in range(groups))


@dataclass(frozen=True)
class StreamingResult:
    """The result of a `StreamingJob`.

    Attributes:
      runtime: What ran the networks.
      geometry: The steps of its encoder.
      runs: By `StreamingMethod.key`.
    """

    runtime: str
    geometry: StreamingGeometry
    runs: dict[str, StreamingRun]

    @property
    def mode(self) -> str:
        """The streaming mode, for tables."""
        return f"streaming, {self.geometry.chunk_ms} ms"


def run_streaming(job: StreamingJob, progress: Progress = NO_PROGRESS) -> StreamingResult:
    """Decode the split in streams; an utterance that fails does not stop the others.

    Raises:
      CalveError: if the model, the split or a method cannot be used.
    """
    title = f"{job.split.name}: {job.model.name}, streaming"
    groups = len(job.streams_by_group)
    if groups == 1:
        with tracked(progress, title, len(job.split.utterances())):
            return _run_group(job, 0, progress)
    with tracked(progress, title, groups):
        results = []
        tasks = [(job, group) for group in range(groups)]
        for result in ordered_map(_run_task, tasks, jobs=groups):
            results.append(result)
            progress.advance()
    runs = {
        one.key: StreamingRun.of_groups([result.runs[one.key] for result in results])
        for one in job.methods
    }
    return replace(results[0], runs=runs)


def write_streaming_results(
    res_dir: Path, job: StreamingJob, result: StreamingResult, unit: str
) -> None:
    """Write error files in icefall's form into ``res_dir/streaming``, in a folder for each method.

    The summary also contains the speed.
    """
    geometry = result.geometry
    suffix = f"{job.model.name}-chunk-size-{geometry.output_frames}"
    if geometry.left_context:
        suffix += f"-left-context-{geometry.left_context}"
    if geometry.right_context:
        suffix += f"-right-context-{geometry.right_context}"
    for one in job.methods:
        run = result.runs[one.key]
        folder = res_dir / "streaming" / one.method.name
        files = ResultFiles.named(folder, job.split.name, one.key, suffix)
        title = ", ".join((job.split.name, one.key, job.model.name, result.runtime, result.mode))
        if run.step_seconds:
            p50, p95, p99 = run.latency_ms(50, 95, 99)
            title += (
                f", {job.num_streams} streams in {len(job.streams_by_group)} process(es), "
                f"latency of a chunk p50 {p50:.1f} ms p95 {p95:.1f} ms p99 {p99:.1f} ms, "
                f"{run.throughput:.1f} seconds of audio per second"
            )
        score = run.decoded.score(unit)
        write_results(files, title, run.decoded.utterances, score, job.hotwords)


def simulate(
    model: CheckpointModel,
    split: Split,
    methods: Sequence[DecodingMethod],
    *,
    chunk_size: int | None = None,
    max_duration: float,
    progress: Progress = NO_PROGRESS,
) -> dict[str, Decoded]:
    """Simulate streaming by masks; return the results by `DecodingMethod.key`.

    Raises:
      CalveError: if the model, the split or a method cannot be used.
    """
    opened = model.open()
    opened.session.geometry = opened.session.geometry.with_chunk_size(chunk_size)
    utterances = split.utterances()
    with tracked(progress, f"{split.name}: {model.name}, simulated streaming", len(utterances)):
        return decode_offline(
            opened.session,
            opened.symbols,
            utterances,
            methods,
            features=opened.features,
            simulate_streaming=True,
            tail_padding_frames=opened.tail_padding_frames,
            max_duration=max_duration,
            progress=progress,
        )


@dataclass(frozen=True)
class Difference:
    """An utterance in which simulated and real streaming differ.

    Attributes:
      name: Name of the utterance.
      reference: The reference.
      simulated: Result of simulated streaming; None if it failed.
      real: Result of real streaming; None if it failed.
    """

    name: str
    reference: str
    simulated: str | None
    real: str | None


def first_difference(simulated: Decoded, real: Decoded) -> Difference | None:
    """Return the first utterance, by name, with different results."""
    before = {one.name: one for one in simulated.utterances}
    after = {one.name: one for one in real.utterances}
    for name in sorted(before | after):
        one, other = before.get(name), after.get(name)
        simulated_text = one.hypothesis if one else None
        real_text = other.hypothesis if other else None
        if simulated_text != real_text:
            reference = (one or other or before[name]).reference
            return Difference(name, reference, simulated_text, real_text)
    return None


def _run_task(task: tuple[StreamingJob, int]) -> StreamingResult:
    return _run_group(*task, NO_PROGRESS)


def _run_group(job: StreamingJob, group: int, progress: Progress) -> StreamingResult:
    opened = job.model.open()
    geometry = opened.session.geometry.with_chunk_size(job.chunk_size)
    variants = {
        one.key: StreamSearch(
            one.method.search(opened.session, opened.symbols),
            one.endpoints,
            one.method.stream_options,
        )
        for one in job.methods
    }
    decoder = StreamDecoder(
        opened.session,
        opened.symbols,
        variants,
        num_streams=job.streams_by_group[group],
        features=opened.features,
        geometry=geometry,
        tail_padding_frames=opened.tail_padding_frames,
    )
    share = job.split.utterances()[group :: len(job.streams_by_group)]
    runs = decoder.decode(share, progress)
    return StreamingResult(opened.runtime, geometry, runs)
