"""Registers decoding methods and commands; recipes build on the rest of this package."""

from __future__ import annotations

from collections.abc import Iterator

from calve.api import CommandSpec, DecodingMethodSpec, LazyRef, hookimpl


@hookimpl
def calve_register_decoders() -> Iterator[DecodingMethodSpec]:
    yield DecodingMethodSpec(
        name="greedy_search",
        search=LazyRef("calve_transducer.searches.greedy:GreedySearch"),
        options=LazyRef("calve_transducer.searches.greedy:GreedySearchOptions"),
        summary="selects the best symbol of every frame",
        stream_options=("context",),
        default=True,
    )
    yield DecodingMethodSpec(
        name="modified_beam_search",
        search=LazyRef("calve_transducer.searches.modified_beam:ModifiedBeamSearch"),
        options=LazyRef("calve_transducer.searches.modified_beam:ModifiedBeamSearchOptions"),
        summary="at most one symbol per frame, a fixed number of hypotheses",
        stream_options=("hotwords", "context"),
    )
    yield DecodingMethodSpec(
        name="beam_search",
        search=LazyRef("calve_transducer.searches.beam:BeamSearch"),
        options=LazyRef("calve_transducer.searches.beam:BeamSearchOptions"),
        summary="several symbols per frame, the most probable hypothesis first",
        stream_options=("context",),
    )
    yield DecodingMethodSpec(
        name="fast_beam_search",
        search=LazyRef("calve_transducer.searches.fast_beam:fast_beam_search"),
        options=LazyRef("calve_transducer.searches.fast_beam_options:FastBeamSearchOptions"),
        summary="the best of many alignments, frame by frame",
    )
    yield DecodingMethodSpec(
        name="fast_beam_search_LG",
        search=LazyRef("calve_transducer.searches.fast_beam:fast_beam_search_LG"),
        options=LazyRef("calve_transducer.searches.fast_beam_options:FastBeamSearchLGOptions"),
        summary="fast_beam_search limited to the sentences of a graph LG",
        needs=("graph",),
    )
    yield DecodingMethodSpec(
        name="fast_beam_search_nbest",
        search=LazyRef("calve_transducer.searches.fast_beam:fast_beam_search_nbest"),
        options=LazyRef("calve_transducer.searches.fast_beam_options:NbestOptions"),
        summary="the sampled path of the lattice with the best alignment",
    )
    yield DecodingMethodSpec(
        name="fast_beam_search_nbest_LG",
        search=LazyRef("calve_transducer.searches.fast_beam:fast_beam_search_nbest_LG"),
        options=LazyRef("calve_transducer.searches.fast_beam_options:NbestLGOptions"),
        summary="the most probable of the sentences sampled from the lattice of a graph LG",
        needs=("graph",),
    )
    yield DecodingMethodSpec(
        name="fast_beam_search_nbest_oracle",
        search=LazyRef("calve_transducer.searches.fast_beam:fast_beam_search_nbest_oracle"),
        options=LazyRef("calve_transducer.searches.fast_beam_options:NbestOptions"),
        summary="the sampled path of the lattice with the fewest errors",
        stream_options=("ref_text",),
    )


@hookimpl
def calve_register_commands() -> Iterator[CommandSpec]:
    yield CommandSpec(
        name="plot",
        command=LazyRef("calve_transducer.commands:plot"),
        short_help="Draw the losses and error rates of a training run.",
    )
