"""Registers the decoding methods; the rest of this package is what recipes build on."""

from __future__ import annotations

from collections.abc import Iterator

from calve.api import LazyRef, SearchSpec, hookimpl


@hookimpl
def calve_register_decoders() -> Iterator[SearchSpec]:
    yield SearchSpec(
        name="greedy_search",
        search=LazyRef("calve_transducer.searches.greedy:GreedySearch"),
        options=LazyRef("calve_transducer.searches.greedy:GreedySearchOptions"),
        summary="at every frame, the best symbol wins",
    )
