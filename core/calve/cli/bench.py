"""``calve bench``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from calve.cli.field_types import CHUNK_MS
from calve.cli.options import json_option, num_threads_option, runs_option, trust_option
from calve.cli.output import print_json, print_table
from calve.common.progress import console_progress
from calve.exporting.benchmark import BenchmarkRow, benchmark

__all__ = ["bench"]


@click.command("bench")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("recordings", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--against",
    metavar="CLIENT",
    help="Compare with this client, for example sherpa-ncnn, or with `calve` on another bundle.",
)
@click.option(
    "--client-bundle",
    type=click.Path(path_type=Path),
    help="Bundle for the client instead of BUNDLE; for example the fp16 form, to see the "
    "gain of int8.",
)
@click.option(
    "--chunk-ms",
    type=CHUNK_MS,
    multiple=True,
    help="Chunk length to measure; may be repeated.  [default: the bundle's own, and 640]",
)
@num_threads_option
@runs_option(3)
@trust_option
@json_option
def bench(
    bundle: Path,
    recordings: tuple[Path, ...],
    against: str | None,
    client_bundle: Path | None,
    chunk_ms: tuple[int, ...],
    num_threads: int,
    runs: int,
    as_json: bool,
) -> None:
    """Measure how fast BUNDLE transcribes RECORDINGS, and how much memory that takes.

    Each run is a process of its own; contenders run in turns. Without RECORDINGS the golden
    recording in the bundle is used, which is short: give longer ones for figures to quote.
    """
    rows = benchmark(
        bundle,
        recordings,
        chunk_ms=chunk_ms,
        against=against,
        client_bundle=client_bundle,
        num_threads=num_threads,
        runs=runs,
        progress=console_progress(),
    )
    if as_json:
        print_json({"num_threads": num_threads, "runs": runs, "rows": [asdict(r) for r in rows]})
    else:
        _print(rows, against)


def _print(rows: list[BenchmarkRow], against: str | None) -> None:
    columns = ["runtime", "bundle", "chunk ms", "load s", "RTF", "p50 ms", "p95 ms", "peak MB"]
    if against is not None:
        columns.append(f"time / {against}")
    table = [
        [
            row.runtime,
            Path(row.bundle).name,
            row.chunk_ms,
            f"{row.load_seconds:.2f}",
            f"{row.rtf:.4f}",
            _rounded(row.step_p50_ms),
            _rounded(row.step_p95_ms),
            f"{row.peak_mb:.0f}",
            None if row.ratio is None else f"{row.ratio:.3f}",
        ][: len(columns)]
        for row in rows
    ]
    print_table(columns, table)


def _rounded(milliseconds: float | None) -> str | None:
    return None if milliseconds is None else f"{milliseconds:.2f}"
