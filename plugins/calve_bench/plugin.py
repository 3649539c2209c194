"""Registers the benchmark commands."""

from __future__ import annotations

from collections.abc import Iterator

from calve.api import CommandSpec, LazyRef, hookimpl


@hookimpl
def calve_register_commands() -> Iterator[CommandSpec]:
    yield CommandSpec(
        name="bench-loss",
        command=LazyRef("calve_bench.commands:bench_loss"),
        short_help="Measure the speed and memory of the training losses.",
    )
    yield CommandSpec(
        name="bench-training",
        command=LazyRef("calve_bench.commands:bench_training"),
        short_help="Profile a training step.",
    )
    yield CommandSpec(
        name="bench-search",
        command=LazyRef("calve_bench.commands:bench_search"),
        short_help="Measure the speed of the decoding methods.",
    )
    yield CommandSpec(
        name="bench-streaming",
        command=LazyRef("calve_bench.commands:bench_streaming"),
        short_help="Measure the streaming speed of a model on the torch runtime.",
    )
