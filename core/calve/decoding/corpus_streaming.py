"""Streaming decoding of a corpus with checkpoints or a bundle, real or simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calve.bundles.bundle import Bundle
from calve.bundles.trial import try_bundle
from calve.common.progress import NO_PROGRESS, Progress
from calve.decoding.bundle_model import BundleModel
from calve.decoding.checkpoint_model import CheckpointModel
from calve.decoding.decoded import Decoded
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.endpointing import EndpointRules
from calve.decoding.offline_decoding import MAX_DURATION
from calve.decoding.online_jobs import (
    StreamingJob,
    StreamingMethod,
    StreamingResult,
    run_streaming,
    simulate,
    write_streaming_results,
)
from calve.errors import ConfigError

__all__ = ["StreamedSplit", "stream_corpus", "with_and_without_endpoints"]


@dataclass(frozen=True)
class StreamedSplit:
    """The results of one split.

    Attributes:
      job: The job.
      result: The results of real streaming.
      simulated: The results of simulated streaming by `StreamingMethod.key`, without endpoints;
        empty if it was not requested.
    """

    job: StreamingJob
    result: StreamingResult
    simulated: Mapping[str, Decoded] = field(default_factory=dict)


def stream_corpus(
    jobs: Sequence[StreamingJob],
    *,
    compare: bool = False,
    checkpoint: CheckpointModel | None = None,
    res_dir: Path | None = None,
    unit: str = "word",
    progress: Progress = NO_PROGRESS,
) -> Iterator[StreamedSplit]:
    """Stream through the split of each job.

    The jobs of one model must be adjacent: its memory is released after the last of them.

    Args:
      jobs: Models, splits and methods.
      compare: Whether to also simulate streaming with the checkpoint.
      checkpoint: The checkpoint for simulated streaming if a job streams through a bundle of it.
      res_dir: Directory for error files; None to write none.
      unit: Unit of errors in these files.
      progress: Advanced by utterance, or by process if there are several.

    Raises:
      CalveError: if a model, a split or a method cannot be used.
    """
    for model in {job.model for job in jobs if isinstance(job.model, BundleModel)}:
        # Once, before the processes start that would all do it.
        try_bundle(Bundle.open(model.path), num_threads=model.num_threads)
    for job, following in zip(jobs, [*jobs[1:], None], strict=True):
        result = run_streaming(job, progress)
        if res_dir is not None:
            write_streaming_results(res_dir, job, result, unit)
        simulated = _simulated(job, result, checkpoint, progress) if compare else {}
        is_last = following is None or following.model is not job.model
        if is_last and isinstance(job.model, CheckpointModel):
            job.model.release()
        yield StreamedSplit(job, result, simulated)


def with_and_without_endpoints(
    methods: Sequence[DecodingMethod], endpoints: EndpointRules | None
) -> Iterator[StreamingMethod]:
    """Yield the methods. If there are rules, each is followed by the same method with endpoints.

    Raises:
      ConfigError: if a method needs references, which streams cut by endpoints do not have.
    """
    for method in methods:
        yield StreamingMethod(method)
        if endpoints is None:
            continue
        if method.needs_reference:
            raise ConfigError(
                f"{method.name} needs a reference, and the utterances into which --endpointing "
                "cuts a stream have none",
                fix="leave one of them out",
            )
        yield StreamingMethod(method, endpoints)


def _simulated(
    job: StreamingJob,
    result: StreamingResult,
    checkpoint: CheckpointModel | None,
    progress: Progress,
) -> dict[str, Decoded]:
    model = job.model if isinstance(job.model, CheckpointModel) else checkpoint
    if model is None:
        raise ConfigError(
            "simulated streaming needs a checkpoint, but only a bundle is given",
            fix="give the checkpoint as well",
        )
    return simulate(
        model,
        job.split,
        [one.method for one in job.methods if one.endpoints is None],
        chunk_size=result.geometry.output_frames,
        max_duration=MAX_DURATION,
        progress=progress,
    )
