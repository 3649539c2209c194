"""Decoding of a corpus with checkpoints, with a bundle, and with the clients of that bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from calve.bundles.bundle import Bundle
from calve.bundles.trial import try_bundle
from calve.common.parallel import ordered_map
from calve.common.progress import NO_PROGRESS, Progress, tracked
from calve.decoding.bundle_model import BundleModel
from calve.decoding.client_decoding import transcribe_with_client
from calve.decoding.offline_decoding import decode_offline
from calve.decoding.offline_jobs import OfflineJob, run_job
from calve.decoding.online_jobs import StreamingJob, StreamingMethod, run_streaming
from calve.decoding.results import DecodingResult
from calve.decoding.splits import Split
from calve.errors import ConfigError
from calve.protocols.sessions import WHOLE_UTTERANCES
from calve.registry.claims import claimed_clients
from calve.registry.defaults import default_decoding_method

__all__ = ["check_decoding", "decode_corpus"]


def check_decoding(
    jobs: Sequence[OfflineJob], bundle: BundleModel | None = None, *, strict: bool = False
) -> tuple[str, ...]:
    """Check for everything that is missing before anything is decoded.

    Args:
      jobs: As for `decode_corpus`.
      bundle: The same.
      strict: Whether to reject settings that the models were not trained for, instead of warning.

    Returns:
      Warnings for the user.

    Raises:
      CalveError: if a checkpoint, the bundle or a split is missing, or a job is impossible.
    """
    for job in jobs:
        job.model.fingerprint()
    if bundle is not None:
        opened = Bundle.open(bundle.path)
        if len(jobs) > 1:
            raise ConfigError("--bundle is an export of one checkpoint", fix="choose one of them")
        try_bundle(opened, num_threads=bundle.num_threads)
    first = jobs[0]
    for split in first.splits:
        split.utterances()
    bundle_streams = bundle is not None and bundle.streaming
    warnings: list[str] = []
    if first.simulate_streaming or bundle_streams:
        # All checkpoints of an experiment were trained with the same configuration.
        warnings += first.model.steps(first.chunk_size).warnings(strict=strict)
    if bundle is not None and bundle_streams:
        warnings += bundle.steps(first.chunk_size).warnings(strict=strict)
    return tuple(warnings)


def decode_corpus(
    jobs: Sequence[OfflineJob],
    bundle: BundleModel | None = None,
    *,
    processes: int = 1,
    dask: str | None = None,
    progress: Progress = NO_PROGRESS,
    notify: Callable[[str], None] = lambda message: None,
) -> Iterator[DecodingResult]:
    """Decode the splits with each checkpoint in whole utterances, then with the bundle.

    A streaming bundle is compared with its checkpoint, which also streams, and with its clients.

    Args:
      jobs: One job for each checkpoint, all with the same splits and methods.
      bundle: An export of the only checkpoint.
      processes: Number of jobs that run in parallel.
      dask: Address of the scheduler of a Dask cluster, which replaces local processes.
      progress: Advanced by utterance, or by job if several jobs run in parallel.
      notify: Receives messages about clients that are left out.

    Raises:
      CalveError: if a model, a split or a method cannot be used; finished jobs are kept on disk.
    """
    for job, results in zip(jobs, _finished(jobs, processes, dask, progress), strict=True):
        if len(jobs) > 1:
            job.model.release()  # In a sweep only: a bundle needs its checkpoint again.
        yield from results
    if bundle is not None and bundle.streaming:
        for split in jobs[0].splits:
            yield from _as_streams(bundle, jobs[0], split, progress)
            yield from _by_clients(bundle, split, jobs[0].model.name, progress, notify)
    elif bundle is not None:
        yield from _in_whole_utterances(bundle, jobs[0], progress)


def _finished(
    jobs: Sequence[OfflineJob], processes: int, dask: str | None, progress: Progress
) -> Iterator[list[DecodingResult]]:
    """Yield the results of each job, in order."""
    if processes == 1 and dask is None:
        for job in jobs:
            yield run_job(job, progress)
        return
    with tracked(progress, "decode", len(jobs)):
        for results in ordered_map(run_job, jobs, jobs=min(processes, len(jobs)), dask=dask):
            progress.advance(note=results[0].model)
            yield results


def _in_whole_utterances(
    bundle: BundleModel, job: OfflineJob, progress: Progress
) -> Iterator[DecodingResult]:
    opened = bundle.open_offline()
    for split in job.splits:
        utterances = split.utterances()
        with tracked(progress, f"{split.name}: {bundle.name}", len(utterances)):
            found = decode_offline(
                opened.session,
                opened.symbols,
                utterances,
                job.methods,
                features=opened.features,
                max_duration=job.max_duration,
                progress=progress,
            )
        for key, decoded in found.items():
            yield DecodingResult(
                split.name, opened.runtime, WHOLE_UTTERANCES, job.model.name, key, decoded
            )


def _as_streams(
    bundle: BundleModel, job: OfflineJob, split: Split, progress: Progress
) -> Iterator[DecodingResult]:
    """Decode with the checkpoint and the bundle, streaming."""
    methods = tuple(map(StreamingMethod, job.methods))
    for model in (job.model, bundle):
        streaming = StreamingJob(model, split, methods, chunk_size=job.chunk_size)
        result = run_streaming(streaming, progress)
        for key, run in result.runs.items():
            yield DecodingResult(
                split.name, result.runtime, result.mode, job.model.name, key, run.decoded
            )


def _by_clients(
    bundle: BundleModel,
    split: Split,
    model: str,
    progress: Progress,
    notify: Callable[[str], None],
) -> Iterator[DecodingResult]:
    """Decode with the clients that the bundle's encoder claims."""
    opened = Bundle.open(bundle.path)
    for client in claimed_clients(opened.manifest.encoder, opened.manifest.format):
        if not client.is_installed:
            notify(f"{client.name} is not installed and is left out")
            continue
        with tracked(progress, f"{split.name}: {client.name}"):
            decoded = transcribe_with_client(
                client, opened, split.utterances(), num_threads=bundle.num_threads
            )
        yield DecodingResult(
            split.name, client.name, "streaming", model, default_decoding_method(), decoded
        )
