"""``calve streaming-decode``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from calve.cli.decoding_options import decoding_options, hotwords_to_report
from calve.cli.field_types import integer
from calve.cli.options import RecipeGroup, dataclass_options
from calve.cli.output import echo, warn
from calve.cli.results import Row, print_results
from calve.common.config import resolve
from calve.common.files import check_writable
from calve.common.progress import console_progress
from calve.decoding.bundle_model import BundleModel
from calve.decoding.checkpoint_model import CheckpointModel
from calve.decoding.corpus_streaming import stream_corpus, with_and_without_endpoints
from calve.decoding.decoded import Decoded
from calve.decoding.decoding_methods import DecodingMethod, with_and_without_hotwords
from calve.decoding.endpointing import EndpointRules
from calve.decoding.online_jobs import (
    Difference,
    StreamingJob,
    StreamingResult,
    first_difference,
)
from calve.decoding.splits import Split
from calve.decoding.streaming_run import StreamingRun
from calve.errors import ConfigError
from calve.models.checkpoints import no_checkpoint
from calve.registry.specs import RecipeSpec

__all__ = ["streaming_decode"]

_OWN_OPTIONS = (
    click.option(
        "--bundle",
        "bundle_dir",
        type=click.Path(path_type=Path),
        help="Decode with this bundle on the runtime of its format, instead of a checkpoint.",
    ),
    click.option(
        "--num-decode-streams",
        type=integer(1, 10_000),
        default=50,
        show_default=True,
        help="Number of parallel streams; when one ends, the next starts.",
    ),
    click.option(
        "--jobs",
        type=integer(1, 256),
        default=1,
        show_default=True,
        help="Number of processes, each with its own model and its share of the streams.",
    ),
    click.option(
        "--compare",
        is_flag=True,
        help="Also simulate streaming with the checkpoint, and show the first utterance with "
        "a different result.",
    ),
    click.option(
        "--endpointing",
        is_flag=True,
        help="Also split streams into utterances at endpoints, and report the differences.",
    ),
    dataclass_options(EndpointRules, key="rules"),
)


def _streaming_decode_command(recipe: RecipeSpec) -> click.Command:
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
        bundle_dir: Path | None,
        num_decode_streams: int,
        jobs: int,
        compare: bool,
        endpointing: bool,
        rules: dict[str, float],
        res_dir: Path | None,
        unit: str,
        num_threads: int,
        strict: bool,
        as_json: bool,
    ) -> None:
        _check(recipe, models, overrides, splits, bundle_dir, compare=compare)
        streaming: Sequence[CheckpointModel | BundleModel] = (
            [BundleModel(bundle_dir, num_threads)] if bundle_dir is not None else models
        )
        # The checkpoints of one experiment were trained alike.
        warn(streaming[0].steps(chunk_size).warnings(strict=strict))
        if res_dir is not None:
            check_writable(res_dir)
        endpoints = resolve(EndpointRules, rules) if endpointing or rules else None
        hotwords = hotwords_to_report(methods, streaming[0])
        methods = with_and_without_hotwords(methods)
        variants = tuple(with_and_without_endpoints(methods, endpoints))
        plan = [
            StreamingJob(model, split, variants, num_decode_streams, chunk_size, jobs, hotwords)
            for model in streaming
            for split in splits
        ]
        streamed = stream_corpus(
            plan,
            compare=compare,
            checkpoint=models[0] if models else None,
            res_dir=res_dir,
            unit=unit,
            progress=console_progress(),
        )
        order = {split.name: number for number, split in enumerate(splits)}
        found = sorted(streamed, key=lambda one: order[one.job.split.name])
        rows = [row for one in found for row in _rows(one.job, one.result, one.simulated)]
        complete = print_results(rows, unit, res_dir, as_json=as_json)
        if compare:
            _print_differences(rows, as_json)
        if not complete:
            ctx.exit(1)

    return command


_HELP = """Decode a corpus with {recipe} as a server does: many streams, chunk by chunk.

The networks are those of a checkpoint or, with --bundle, of an export of it. Prints error rates,
how long a chunk waits for its result, and how many seconds of audio are decoded in a second.
"""

streaming_decode = RecipeGroup(
    "streaming-decode",
    make_command=_streaming_decode_command,
    help="Decode a corpus chunk by chunk in many streams; print the WER, latency and throughput.",
)


def _check(
    recipe: RecipeSpec,
    models: Sequence[CheckpointModel],
    overrides: Mapping[str, Mapping[str, Any]],
    splits: Sequence[Split],
    bundle_dir: Path | None,
    *,
    compare: bool,
) -> None:
    """Find what is missing or contradicts itself before anything is decoded."""
    if bundle_dir is None or compare:
        if not models:
            raise no_checkpoint()
    elif models:
        raise ConfigError(
            "--bundle is decoded instead of a checkpoint",
            fix="give one of them, or --compare to see both",
        )
    for model in models:
        model.fingerprint()
    if bundle_dir is not None:
        BundleModel(bundle_dir).check_exported_as(recipe.name, overrides)
        if len(models) > 1:
            raise ConfigError("--bundle is an export of one checkpoint", fix="choose one of them")
    for split in splits:
        split.utterances()


def _rows(
    job: StreamingJob, result: StreamingResult, simulated: Mapping[str, Decoded]
) -> Iterator[Row]:
    """Real streaming, and simulated streaming before it where there is any."""
    for variant in job.methods:
        before = simulated.get(variant.key)
        run = result.runs[variant.key]
        details: dict[str, Any] = {}
        if before is not None:
            mode = f"simulated {result.mode}"
            yield Row(
                job.split.name,
                result.runtime,
                mode,
                job.model.name,
                variant.key,
                before,
                hotwords=job.hotwords,
            )
            found = first_difference(before, run.decoded)
            details = {"first_difference": found and asdict(found)}
        yield Row(
            job.split.name,
            result.runtime,
            result.mode,
            job.model.name,
            variant.key,
            run.decoded,
            hotwords=job.hotwords,
            figures=_figures(run, variant.endpoints is not None),
            details=details,
        )


def _figures(run: StreamingRun, has_endpoints: bool) -> dict[str, Any]:
    if not run.step_seconds:
        return {}
    p50, p95, p99 = run.latency_ms(50, 95, 99)
    figures: dict[str, Any] = {
        "p50 ms": round(p50, 2),
        "p95 ms": round(p95, 2),
        "p99 ms": round(p99, 2),
        "audio s/s": run.throughput and round(run.throughput, 1),
    }
    if has_endpoints:
        counts = (f"rule {rule}: {run.endpoints[rule]}" for rule in (1, 2, 3))
        figures["endpoints"] = ", ".join(counts)
    return figures


def _print_differences(rows: Sequence[Row], as_json: bool) -> None:
    """Below the table; beside JSON, which holds them already, on stderr."""
    for row in rows:
        if "first_difference" not in row.details:
            continue
        label = f"{row.split}, {row.model}, {row.method}"
        found = row.details["first_difference"]
        if found is None:
            echo(f"{label}: simulated and real streaming agree in every utterance", err=as_json)
            continue
        first = Difference(**found)
        echo(f"{label}: they first differ in {first.name}", err=as_json)
        for name, text in (
            ("said", first.reference),
            ("simulated", first.simulated),
            ("real", first.real),
        ):
            echo(f"  {name:<10}{'(not decoded)' if text is None else text}", err=as_json)
