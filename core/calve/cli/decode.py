"""``calve decode``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from calve.cli.decoding_options import (
    decoding_options,
    hotwords_to_report,
    simulate_streaming_option,
)
from calve.cli.field_types import integer, number
from calve.cli.options import RecipeGroup
from calve.cli.output import echo, warn
from calve.cli.results import Row, print_results
from calve.common.files import check_writable
from calve.common.progress import console_progress
from calve.common.ranges import Range
from calve.decoding.bundle_model import BundleModel
from calve.decoding.checkpoint_model import CheckpointModel
from calve.decoding.corpus_decoding import check_decoding, decode_corpus
from calve.decoding.decoding_methods import DecodingMethod, with_and_without_hotwords
from calve.decoding.offline_decoding import MAX_DURATION
from calve.decoding.offline_jobs import OfflineJob
from calve.decoding.splits import Split
from calve.models.checkpoints import no_checkpoint
from calve.registry.specs import RecipeSpec

__all__ = ["decode"]

_OWN_OPTIONS = (
    simulate_streaming_option,
    click.option(
        "--max-duration",
        type=number(Range(0, 1e6, above_minimum=True)),
        default=MAX_DURATION,
        show_default=True,
        help="Seconds of audio in a batch, including padding.",
    ),
    click.option(
        "--bundle",
        "bundle_dir",
        type=click.Path(path_type=Path),
        help="A bundle of the same checkpoint. Also stream through torch, the bundle's "
        "runtime and its clients; a bundle for whole utterances is decoded in whole "
        "utterances.",
    ),
    click.option("--redo", is_flag=True, help="Decode again what has been decoded."),
    click.option(
        "--jobs",
        type=integer(1, 256),
        default=1,
        show_default=True,
        help="Number of processes, each with its own checkpoint.",
    ),
    click.option(
        "--dask",
        metavar="SCHEDULER",
        help="Address of the scheduler of a Dask cluster, whose workers then decode.",
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
        bundle = None if bundle_dir is None else BundleModel(bundle_dir, num_threads)
        warn(check_decoding(plan, bundle, strict=strict))
        if res_dir is not None:
            check_writable(res_dir)
        results = decode_corpus(
            plan,
            bundle,
            processes=jobs,
            dask=dask,
            progress=console_progress(),
            notify=lambda message: echo(message, err=True),
        )
        rows = [Row.of(result, hotwords) for result in results]
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
    help="Decode a corpus with a checkpoint and optionally its bundle; print the WER.",
)
