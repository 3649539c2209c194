"""The ``bench-...`` commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from calve.api import Range, RecipeSpec
from calve.common.progress import console_progress
from calve.services import (
    RecipeGroup,
    echo,
    integer,
    json_option,
    num_threads_option,
    number,
    print_json,
    print_table,
    recipe_options,
    runs_option,
)

__all__ = ["bench_loss", "bench_search", "bench_streaming", "bench_training"]


Columns = dict[str, Callable[[Any], object]]
"""Cell of a row by column heading."""


@click.command("bench-loss")
@click.option("--backend", default="torch", show_default=True, help="A loss backend.")
@click.option("--against", metavar="BACKEND", help="Compare with this backend, for example k2.")
@click.option(
    "--python",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Python interpreter of an environment with the other backend.  [default: this one]",
)
@click.option(
    "--vocab-size",
    "vocab_sizes",
    type=integer(2, 1_000_000),
    multiple=True,
    default=(500, 5000),
    show_default=True,
    help="May be repeated.",
)
@num_threads_option
@runs_option(3)
@json_option
def bench_loss(
    backend: str,
    against: str | None,
    python: Path | None,
    vocab_sizes: tuple[int, ...],
    num_threads: int,
    runs: int,
    as_json: bool,
) -> None:
    """Measure time (forward and backward) and memory of the training losses.

    The work is 8 utterances of 250 encoder frames and 60 symbols, with 512-dimensional joiners.
    Each run is a process of its own; backends run in turns, and ratios are taken within a turn.
    """
    from calve_bench.losses import benchmark_losses

    rows = benchmark_losses(
        backend,
        against=against,
        python=python,
        vocab_sizes=vocab_sizes,
        num_threads=num_threads,
        runs=runs,
        progress=console_progress(),
    )
    if as_json:
        print_json({"num_threads": num_threads, "runs": runs, "rows": [asdict(r) for r in rows]})
        return
    columns: Columns = {
        "backend": lambda row: row.backend,
        "symbols": lambda row: row.vocab_size,
        "s / step": lambda row: f"{row.seconds:.3f}",
        "peak MB": lambda row: f"{row.peak_mb:.0f}",
    }
    if against is not None:
        columns[f"time / {against}"] = lambda row: f"{row.ratio:.3f}"
        columns[f"memory / {against}"] = lambda row: f"{row.memory_ratio:.3f}"
    _print_rows(rows, columns)


def _bench_training_command(recipe: RecipeSpec) -> click.Command:
    @click.command(recipe.name, help=f"Measure a training step of {recipe.name}.")
    @click.option(
        "--batch-size",
        type=integer(1, 10_000),
        default=16,
        show_default=True,
        help="Utterances in a batch.",
    )
    @click.option(
        "--seconds",
        type=number(Range(0, 3600, above_minimum=True)),
        default=4.0,
        show_default=True,
        help="Length of an utterance.",
    )
    @click.option(
        "--symbols",
        type=integer(1, 10_000),
        default=12,
        show_default=True,
        help="Symbols per utterance.",
    )
    @click.option(
        "--steps",
        type=integer(1, 10_000),
        default=5,
        show_default=True,
        help="Number of measured steps.",
    )
    @num_threads_option
    @click.option("--loss-backend", default="torch", show_default=True, help="A loss backend.")
    @click.option("--use-bf16", is_flag=True, help="Run matrix multiplications in bfloat16.")
    @recipe_options(recipe)
    @json_option
    def command(
        batch_size: int,
        seconds: float,
        symbols: int,
        steps: int,
        num_threads: int,
        loss_backend: str,
        use_bf16: bool,
        encoder: dict[str, Any],
        model: dict[str, Any],
        as_json: bool,
    ) -> None:
        from calve_bench.training_step import benchmark_step
        from calve_transducer.training.config import TrainingConfig

        found = benchmark_step(
            recipe.name,
            {"encoder": encoder, "model": model},
            config=TrainingConfig(
                num_threads=num_threads, loss_backend=loss_backend, use_bf16=use_bf16
            ),
            batch_size=batch_size,
            seconds=seconds,
            symbols=symbols,
            steps=steps,
            progress=console_progress(),
        )
        if as_json:
            print_json({"num_threads": num_threads, "batch_size": batch_size, **asdict(found)})
            return
        echo(
            f"{found.parameters:,} parameters, {batch_size / found.total:.1f} utterances/s, "
            f"{found.processor:.3f} s of processor time a step"
        )
        parts = {**found.seconds, "step": found.total}
        print_table(
            ["part", "ms", "%"],
            [
                [part, f"{1000 * taken:.1f}", f"{100 * taken / found.total:.1f}"]
                for part, taken in parts.items()
            ],
        )

    return command


bench_training = RecipeGroup(
    "bench-training",
    make_command=_bench_training_command,
    help="Profile a training step on noise, on the CPU.",
)


@click.command("bench-search")
@click.option(
    "--decoding-method",
    "methods",
    metavar="NAME",
    multiple=True,
    default=("greedy_search", "modified_beam_search", "fast_beam_search"),
    show_default=True,
    help="May be repeated.",
)
@click.option(
    "--utterances",
    type=integer(1, 10_000),
    multiple=True,
    default=(16, 100),
    show_default=True,
    help="Number of utterances searched at once; may be repeated.",
)
@click.option(
    "--against",
    metavar="BACKEND",
    help="Compare calve's own FSA backend with this one in fast_beam_search; for example "
    "k2-elsewhere.",
)
@num_threads_option
@runs_option(5)
@json_option
def bench_search(
    methods: tuple[str, ...],
    utterances: tuple[int, ...],
    against: str | None,
    num_threads: int,
    runs: int,
    as_json: bool,
) -> None:
    """Measure decoding methods on given encoder output.

    The model is random, with 500 symbols and 512 dimensions; an utterance is 10 s long, 250 encoder
    frames, and about every sixth of them emits a symbol. All methods get the same input and run in
    turns. "outside" is the share of the time outside of decoder and joiner.

    With --against, the same search also runs on two FSA backends in turns, which must find the same
    tokens. For each, "FSA ms" is the CPU time of the graph traversal, and "outside ms" the CPU time
    outside of decoder and joiner.
    """
    from calve_bench.fsas import benchmark_fsa_backends
    from calve_bench.searches import benchmark_searches

    how: dict[str, Any] = {"num_threads": num_threads, "runs": runs}
    fsa_rows = []
    if against is not None:
        fsa_rows = benchmark_fsa_backends(
            "calve", against, utterances, **how, progress=console_progress()
        )
    rows = benchmark_searches(
        [(method, count) for count in utterances for method in methods],
        **how,
        progress=console_progress(),
    )
    if as_json:
        found = {"rows": [asdict(row) for row in rows]}
        print_json({**how, **found, "fsa_rows": [asdict(row) for row in fsa_rows]})
        return
    _print_rows(rows, _SEARCH_COLUMNS)
    if fsa_rows:
        echo()
        _print_rows(fsa_rows, _fsa_columns(f"{against}'s FSA"))


_SEARCH_COLUMNS: Columns = {
    "method": lambda row: row.method,
    "utterances": lambda row: row.utterances,
    "ms": lambda row: f"{row.milliseconds:.0f}",
    "fastest ms": lambda row: f"{row.fastest:.0f}",
    "outside %": lambda row: f"{100 * row.outside:.1f}",
    "emitting %": lambda row: f"{100 * row.emitting:.1f}",
    "score": lambda row: f"{row.score:.2f}",
}


def _fsa_columns(theirs: str) -> Columns:
    return {
        "backend": lambda row: row.backend,
        "utterances": lambda row: row.utterances,
        "FSA ms": lambda row: f"{row.milliseconds:.0f}",
        "outside ms": lambda row: f"{row.outside:.0f}",
        f"FSA / {theirs}": lambda row: f"{row.ratio:.2f}",
        f"outside / {theirs}": lambda row: f"{row.outside_ratio:.2f}",
    }


def _bench_streaming_command(recipe: RecipeSpec) -> click.Command:
    @click.command(recipe.name, help=_BENCH_STREAMING_HELP.format(recipe=recipe.name))
    @click.option(
        "--num-decode-streams",
        "streams",
        type=integer(1, 10_000),
        multiple=True,
        default=(1, 50),
        show_default=True,
        help="Number of parallel streams; may be repeated.",
    )
    @click.option(
        "--seconds",
        type=number(Range(1, 3600)),
        default=10.0,
        show_default=True,
        help="Length of a stream.",
    )
    @click.option(
        "--decoding-method",
        "method",
        metavar="NAME",
        default="greedy_search",
        show_default=True,
        help="Decoding method.",
    )
    @num_threads_option
    @runs_option(3)
    @recipe_options(recipe)
    @json_option
    def command(
        streams: tuple[int, ...],
        seconds: float,
        method: str,
        num_threads: int,
        runs: int,
        encoder: dict[str, Any],
        model: dict[str, Any],
        as_json: bool,
    ) -> None:
        from calve_bench.streaming import benchmark_streaming

        rows = benchmark_streaming(
            recipe.name,
            {"encoder": encoder, "model": model},
            streams=streams,
            method=method,
            seconds=seconds,
            num_threads=num_threads,
            runs=runs,
            progress=console_progress(),
        )
        if as_json:
            how = {"num_threads": num_threads, "runs": runs}
            print_json({**how, "rows": [asdict(row) for row in rows]})
            return
        _print_rows(rows, _STREAMING_COLUMNS)

    return command


_STREAMING_COLUMNS: Columns = {
    "streams": lambda row: row.streams,
    "audio s/s": lambda row: f"{row.throughput:.1f}",
    "fastest": lambda row: f"{row.fastest:.1f}",
    "p50 ms": lambda row: f"{row.step_p50_ms:.1f}",
    "encoder %": lambda row: f"{100 * row.encoder:.1f}",
    "outside %": lambda row: f"{100 * row.outside:.1f}",
    "emitting %": lambda row: f"{100 * row.emitting:.1f}",
}

_BENCH_STREAMING_HELP = """Measure how fast {recipe} streams in torch, on noise.

The model is random, and emits a symbol on about every sixth frame. Features are there already; all
streams begin and end together. "audio s/s" is how many seconds of audio are decoded in a second,
"p50 ms" how long a chunk waits for its result, "outside %" the share of the time that does not pass
in encoder, decoder and joiner.
"""

bench_streaming = RecipeGroup(
    "bench-streaming",
    make_command=_bench_streaming_command,
    help="Measure the streaming speed of a recipe's model on the torch runtime, on noise.",
)


def _print_rows(rows: Sequence[Any], columns: Columns) -> None:
    print_table(list(columns), [[shown(row) for shown in columns.values()] for row in rows])
