"""``calve decode``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from calve.bundle import Bundle
from calve.checkpoint import BUILTIN_PREFIX, CheckpointChoice, checkpoint_files
from calve.claims import claimed_clients
from calve.cli.options import (
    RecipeGroup,
    checkpoint_sweep_options,
    corpus_options,
    json_option,
    method_options,
    recipe_options,
)
from calve.cli.results import Row, print_results
from calve.decoding import MAX_DURATION, Decoded, transcribe_with_client
from calve.decoding_jobs import Job, Model, OfflineResult, Split, run_job
from calve.errors import ConfigError
from calve.methods import Method
from calve.parallel import ordered_map
from calve.progress import console_progress
from calve.registry import registry
from calve.scoring import UNITS
from calve.specs import RecipeSpec
from calve.streaming import StreamDecoder, Variant
from calve.utterances import Utterance

__all__ = ["decode"]

_STREAMS = 32


def _decode_command(recipe: RecipeSpec) -> click.Command:
    @click.command(recipe.name, help=_HELP.format(recipe=recipe.name))
    @checkpoint_sweep_options
    @click.option(
        "--tokens",
        type=click.Path(path_type=Path),
        help="The model's tokens.txt.  [default: a builtin checkpoint's own, else the corpus']",
    )
    @corpus_options
    @click.option(
        "--split",
        "splits",
        multiple=True,
        default=("test",),
        show_default=True,
        help="Part of the corpus; may be given several times.",
    )
    @method_options
    @click.option(
        "--simulate-streaming",
        type=click.BOOL,
        is_flag=False,
        flag_value="true",
        default=False,
        metavar="[0|1]",
        help="Mask attention to what a streaming encoder sees.",
    )
    @click.option(
        "--max-duration",
        type=click.FloatRange(min=0, min_open=True),
        default=MAX_DURATION,
        show_default=True,
        help="Seconds of audio in a batch, padding included.",
    )
    @click.option(
        "--res-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where results go, in a folder for each method.  [default: --exp-dir; with "
        "--checkpoint nothing is kept]",
    )
    @click.option("--redo", is_flag=True, help="Decode what has been decoded once more.")
    @click.option(
        "--unit",
        type=click.Choice(list(UNITS)),
        default="word",
        show_default=True,
        help="What errors are counted in.",
    )
    @click.option(
        "--bundle",
        "bundle_dir",
        type=click.Path(path_type=Path),
        help="An export of the same checkpoint: stream through torch, the bundle's runtime and "
        "its clients as well.",
    )
    @click.option(
        "--chunk-ms",
        type=int,
        help="With --bundle: milliseconds of audio per encoder step.  [default: the recipe's own]",
    )
    @click.option(
        "--num-threads",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Threads of each process.",
    )
    @click.option(
        "--jobs",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Processes, each with a checkpoint of its own.",
    )
    @click.option(
        "--dask",
        metavar="SCHEDULER",
        help="Let the workers of this Dask scheduler do it (an address or a scheduler file).",
    )
    @recipe_options(recipe)
    @json_option
    @click.pass_context
    def command(
        ctx: click.Context,
        checkpoints: list[CheckpointChoice],
        tokens: Path | None,
        corpus: str,
        data_dir: Path,
        splits: tuple[str, ...],
        methods: list[Method],
        simulate_streaming: bool,
        max_duration: float,
        res_dir: Path | None,
        redo: bool,
        unit: str,
        bundle_dir: Path | None,
        chunk_ms: int | None,
        num_threads: int,
        jobs: int,
        dask: str | None,
        encoder: dict[str, Any],
        model: dict[str, Any],
        as_json: bool,
    ) -> None:
        parts = tuple(Split(corpus, data_dir, name) for name in dict.fromkeys(splits))
        models = [
            Model(
                recipe.name,
                checkpoint,
                {"encoder": encoder, "model": model},
                tokens or _tokens_of(checkpoint, corpus, data_dir),
                num_threads,
            )
            for checkpoint in checkpoints or [CheckpointChoice()]
        ]
        results = res_dir or _exp_dir(models[0])
        plan = [
            Job(one, parts, tuple(methods), simulate_streaming, max_duration, results, unit, redo)
            for one in models
        ]
        comparison = None
        if bundle_dir is not None:
            comparison = _Comparison(models, Bundle.open(bundle_dir), chunk_ms, num_threads)
        _check(plan)
        rows = list(_offline(plan, jobs, dask))
        if comparison is not None:
            for part in parts:
                rows.extend(comparison.rows(part, methods))
        complete = print_results(rows, unit, results, as_json=as_json)
        if not complete:
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


def _tokens_of(checkpoint: CheckpointChoice, corpus: str, data_dir: Path) -> Path | None:
    if (checkpoint.checkpoint or "").startswith(BUILTIN_PREFIX):
        return None
    return data_dir / registry().datasets.get(corpus).tokens


def _exp_dir(model: Model) -> Path | None:
    exp_dir = model.checkpoint.exp_dir
    return None if exp_dir is None else Path(exp_dir)


def _check(plan: Sequence[Job]) -> None:
    """Find what is missing before anything is decoded.

    Raises:
      CalveError: if a checkpoint or a split is.
    """
    for job in plan:
        checkpoint_files(job.model.checkpoint)
    for split in plan[0].splits:
        split.utterances()


def _offline(plan: Sequence[Job], jobs: int, dask: str | None) -> Iterator[Row]:
    """Results of the checkpoint in whole utterances."""
    progress = console_progress()
    finished: Iterator[list[OfflineResult]]
    if jobs == 1 and dask is None:
        finished = (run_job(job, progress) for job in plan)
    else:
        progress.start("decode", len(plan))
        finished = ordered_map(run_job, plan, jobs=min(jobs, len(plan)), dask=dask)
    for results in finished:
        if jobs > 1 or dask is not None:
            progress.advance(note=results[0].model)
        for result in results:
            yield Row(
                split=result.split,
                runtime="torch",
                mode=result.mode,
                model=result.model,
                method=result.method,
                decoded=result.decoded,
                resumed=result.resumed,
            )
    progress.finish()


@dataclass(frozen=True)
class _Comparison:
    """A checkpoint and a bundle of it, streaming through every runtime that there is."""

    models: Sequence[Model]
    bundle: Bundle
    chunk_ms: int | None
    num_threads: int

    def __post_init__(self) -> None:
        if len(self.models) > 1:
            raise ConfigError("--bundle is an export of one checkpoint", fix="choose one of them")

    def rows(self, split: Split, methods: Sequence[Method]) -> Iterator[Row]:
        """Results of streaming."""
        utterances = split.utterances()
        bundle = self.bundle
        session, symbols = self.models[0].open()
        yield from self._stream(split, utterances, "torch", session, symbols, methods)
        yield from self._stream(
            split,
            utterances,
            bundle.manifest.runtime,
            bundle.runtime(num_threads=self.num_threads),
            bundle.symbols,
            methods,
            features=bundle.manifest.features,
            tail_padding_frames=bundle.manifest.tail_padding_frames,
        )
        for client in claimed_clients(bundle.manifest.encoder, bundle.manifest.format):
            if not client.is_installed:
                click.echo(f"{client.name} is not installed, and left out", err=True)
                continue
            progress = console_progress()
            progress.start(f"{split.name}: {client.name}")
            decoded = transcribe_with_client(
                client, bundle, utterances, num_threads=self.num_threads
            )
            progress.finish()
            yield self._row(split, client.name, "streaming", "greedy_search", decoded)

    def _stream(
        self,
        split: Split,
        utterances: Sequence[Utterance],
        runtime: str,
        session: Any,
        symbols: Any,
        methods: Sequence[Method],
        **options: Any,
    ) -> Iterator[Row]:
        geometry = session.geometry
        if self.chunk_ms is not None:
            geometry = geometry.with_chunk_ms(self.chunk_ms)
        mode = f"streaming, {geometry.chunk_ms} ms"
        variants = {method.key: Variant(method.search(session, symbols)) for method in methods}
        decoder = StreamDecoder(
            session, symbols, variants, num_streams=_STREAMS, geometry=geometry, **options
        )
        progress = console_progress()
        progress.start(f"{split.name}: {runtime}, {mode}", len(utterances))
        runs = decoder.decode(utterances, progress)
        progress.finish()
        for key, run in runs.items():
            yield self._row(split, runtime, mode, key, run.decoded)

    def _row(self, split: Split, runtime: str, mode: str, method: str, decoded: Decoded) -> Row:
        return Row(split.name, runtime, mode, self.models[0].name, method, decoded)
