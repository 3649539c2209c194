"""``calve decode``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from calve.bundles.bundle import Bundle
from calve.cli.decoding_options import (
    check_steps,
    decoding_options,
    hotwords_to_report,
    simulate_streaming_option,
)
from calve.cli.options import RecipeGroup
from calve.cli.results import Row, print_results
from calve.common.files import check_writable
from calve.common.parallel import ordered_map
from calve.common.progress import console_progress, tracked
from calve.decoding.bundle_model import BundleModel
from calve.decoding.checkpoint_model import CheckpointModel
from calve.decoding.client_decoding import transcribe_with_client
from calve.decoding.decoding_methods import DecodingMethod, with_and_without_hotwords
from calve.decoding.encoder_views import WHOLE_UTTERANCES
from calve.decoding.offline_decoding import MAX_DURATION, decode_offline
from calve.decoding.offline_jobs import OfflineJob, OfflineResult, run_job
from calve.decoding.online_jobs import StreamingJob, StreamingMethod, run_streaming
from calve.decoding.splits import Split
from calve.errors import ConfigError
from calve.models.checkpoints import no_checkpoint
from calve.registry.catalog import default_decoding_method
from calve.registry.claims import claimed_clients
from calve.registry.specs import RecipeSpec

__all__ = ["decode"]

_OWN_OPTIONS = (
    simulate_streaming_option,
    click.option(
        "--max-duration",
        type=click.FloatRange(min=0, min_open=True),
        default=MAX_DURATION,
        show_default=True,
        help="Seconds of audio in a batch, padding included.",
    ),
    click.option(
        "--bundle",
        "bundle_dir",
        type=click.Path(path_type=Path),
        help="An export of the same checkpoint: stream through torch, the bundle's runtime and "
        "its clients as well; one for whole utterances is decoded in them.",
    ),
    click.option("--redo", is_flag=True, help="Decode what has been decoded once more."),
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Processes, each with a checkpoint of its own.",
    ),
    click.option(
        "--dask",
        metavar="SCHEDULER",
        help="Let the workers of an existing Dask cluster do it: the address of its scheduler.",
    ),
)


def _decode_command(recipe: RecipeSpec) -> click.Command:
    @click.command(recipe.name, help=_HELP.format(recipe=recipe.name))
    @decoding_options(recipe, *_OWN_OPTIONS)
    @click.pass_context
    def command(
        ctx: click.Context,
        models: list[CheckpointModel],
        overrides: dict[str, dict[str, Any]],
        chunk_size: int | None,
        splits: tuple[Split, ...],
        methods: list[DecodingMethod],
        simulate_streaming: bool,
        max_duration: float,
        res_dir: Path | None,
        redo: bool,
        unit: str,
        bundle_dir: Path | None,
        num_threads: int,
        jobs: int,
        dask: str | None,
        strict: bool,
        as_json: bool,
    ) -> None:
        if not models:
            raise no_checkpoint()
        hotwords = hotwords_to_report(methods, models[0])
        methods = with_and_without_hotwords(methods)
        plan = [
            OfflineJob(
                one,
                splits,
                tuple(methods),
                simulate_streaming=simulate_streaming,
                chunk_size=chunk_size,
                max_duration=max_duration,
                res_dir=res_dir,
                unit=unit,
                hotwords=hotwords,
                redo=redo,
            )
            for one in models
        ]
        _check(plan, bundle_dir, strict=strict)
        if res_dir is not None:
            check_writable(res_dir)
        rows = list(_checkpoint_rows(plan, jobs, dask))
        if bundle_dir is not None:
            bundle = BundleModel(bundle_dir, num_threads)
            rows_of = _streaming_rows if bundle.streaming else _offline_rows
            rows.extend(rows_of(bundle, plan[0]))
        rows = [replace(row, hotwords=hotwords) for row in rows]
        if not print_results(rows, unit, res_dir, as_json=as_json):
            ctx.exit(1)

    return command


_HELP = """Decode a corpus with checkpoints of {recipe}, in whole utterances.

--epoch, --iter, --avg and --decoding-method may be lists such as 20,25: all combinations are
decoded and ranked. Each utterance is encoded once for all methods, and what has been decoded
before is not decoded again.
"""

decode = RecipeGroup(
    "decode",
    make_command=_decode_command,
    help="Decode a corpus with a checkpoint, and with a bundle of it; print the WER.",
)


def _check(plan: Sequence[OfflineJob], bundle_dir: Path | None, *, strict: bool) -> None:
    """Find what is missing before anything is decoded.

    Raises:
      CalveError: if a checkpoint, the bundle or a split is, or, under ``strict``, the training for
        how the model is to stream.
    """
    for job in plan:
        job.model.fingerprint()
    if bundle_dir is not None:
        Bundle.open(bundle_dir)
        if len(plan) > 1:
            raise ConfigError("--bundle is an export of one checkpoint", fix="choose one of them")
    for split in plan[0].splits:
        split.utterances()
    first = plan[0]
    bundle_streams = bundle_dir is not None and BundleModel(bundle_dir).streaming
    if first.simulate_streaming or bundle_streams:
        # The checkpoints of one experiment were trained alike.
        check_steps(first.model.steps(first.chunk_size), strict=strict)
    if bundle_dir is not None and bundle_streams:
        check_steps(BundleModel(bundle_dir).steps(first.chunk_size), strict=strict)


def _checkpoint_rows(plan: Sequence[OfflineJob], jobs: int, dask: str | None) -> Iterator[Row]:
    """Results of the checkpoints in whole utterances."""
    runtime = plan[0].model.runtime
    for job, results in zip(plan, _finished(plan, jobs, dask), strict=True):
        if len(plan) > 1:
            job.model.release()  # of a sweep, one at a time; --bundle needs its checkpoint again
        for result in results:
            yield Row(
                split=result.split,
                runtime=runtime,
                mode=result.mode,
                model=result.model,
                method=result.method,
                decoded=result.decoded,
                resumed=result.resumed,
            )


def _finished(
    plan: Sequence[OfflineJob], jobs: int, dask: str | None
) -> Iterator[list[OfflineResult]]:
    """The results of each job of the plan, in order."""
    progress = console_progress()
    if jobs == 1 and dask is None:
        for job in plan:
            yield run_job(job, progress)
        return
    with tracked(progress, "decode", len(plan)):
        for results in ordered_map(run_job, plan, jobs=min(jobs, len(plan)), dask=dask):
            progress.advance(note=results[0].model)
            yield results


def _offline_rows(bundle: BundleModel, job: OfflineJob) -> Iterator[Row]:
    """Results of a bundle in whole utterances."""
    opened, progress = bundle.open_offline(), console_progress()
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
            yield Row(split.name, opened.runtime, WHOLE_UTTERANCES, job.model.name, key, decoded)


def _streaming_rows(bundle: BundleModel, job: OfflineJob) -> Iterator[Row]:
    """Results of the checkpoint and of the bundle as streams, and of the bundle's clients."""
    for split in job.splits:
        for way in (job.model, bundle):
            yield from _stream(way, split, job.methods, job.chunk_size, job.model.name)
        yield from _clients(bundle, split, job.model.name)


def _stream(
    way: CheckpointModel | BundleModel,
    split: Split,
    methods: Sequence[DecodingMethod],
    chunk_size: int | None,
    model: str,
) -> Iterator[Row]:
    job = StreamingJob(way, split, tuple(map(StreamingMethod, methods)), chunk_size=chunk_size)
    result = run_streaming(job, console_progress())
    for key, run in result.runs.items():
        yield Row(split.name, result.runtime, result.mode, model, key, run.decoded)


def _clients(way: BundleModel, split: Split, model: str) -> Iterator[Row]:
    """Results of the clients that the bundle's encoder claims."""
    bundle, progress = Bundle.open(way.path), console_progress()
    for client in claimed_clients(bundle.manifest.encoder, bundle.manifest.format):
        if not client.is_installed:
            click.echo(f"{client.name} is not installed, and left out", err=True)
            continue
        with tracked(progress, f"{split.name}: {client.name}"):
            decoded = transcribe_with_client(
                client, bundle, split.utterances(), num_threads=way.num_threads
            )
        yield Row(split.name, client.name, "streaming", model, default_decoding_method(), decoded)
