"""Each check of the kit fails on a decoding method that is broken in just that way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from calve.api import LazyRef
from calve.registry.catalog import registry
from calve.testing import DecoderConformance
from calve_transducer.searches.greedy import GreedySearch

Replaced = Callable[..., None]
Failures = Callable[..., dict[str, str]]


class QuickConformance(DecoderConformance):
    """Without imports in new processes."""

    decoder = "greedy_search"
    test_importing_the_plugin_imports_nothing_heavy = None


class Deaf(GreedySearch):
    def advance(self, streams, encoder_out):
        super().advance(streams, [0 * one for one in encoder_out])


class OneFrameLate(GreedySearch):
    def result(self, stream):
        found = super().result(stream)
        return replace(found, timestamps=[frame + 1 for frame in found.timestamps])


class KeepsBlanks(GreedySearch):
    def result(self, stream):
        found = super().result(stream)
        return replace(found, tokens=[*found.tokens, 0], timestamps=[*found.timestamps, 0])


class ForgetsTimestamps(GreedySearch):
    def result(self, stream):
        return replace(super().result(stream), timestamps=[])


class CountsWrongly(GreedySearch):
    def result(self, stream):
        return replace(super().result(stream), score=float("nan"))


class SpeaksFirst(GreedySearch):
    def result(self, stream):
        found = super().result(stream)
        return found if stream.frames else replace(found, tokens=[1], timestamps=[0])


class StartsAgain(GreedySearch):
    """Forgets the context with every piece."""

    def advance(self, streams, encoder_out):
        for stream in streams:
            stream.context = self.start().context
        super().advance(streams, encoder_out)


class MixesStreams(GreedySearch):
    def advance(self, streams, encoder_out):
        super().advance(streams, encoder_out)
        for stream in streams:
            stream.context = streams[0].context


class SharesTheScore(GreedySearch):
    def advance(self, streams, encoder_out):
        super().advance(streams, encoder_out)
        for stream in streams[1:]:
            stream.hypothesis.score = streams[0].hypothesis.score


class GivesItsOwnLists(GreedySearch):
    def result(self, stream):
        return stream.hypothesis


class WritesIntoFrames(GreedySearch):
    def advance(self, streams, encoder_out):
        super().advance(streams, encoder_out)
        for one in encoder_out:
            one *= 2


class BearsNan(GreedySearch):
    def advance(self, streams, encoder_out):
        super().advance(streams, [np.nan_to_num(one) for one in encoder_out])


class NeverSaysWhen(GreedySearch):
    def last_timestamp(self, stream):
        return None


class NeedsStreams(GreedySearch):
    def advance(self, streams, encoder_out):
        streams[0]
        super().advance(streams, encoder_out)


class ForgetsTheContext(GreedySearch):
    def start(self, context=()):
        return super().start()


@dataclass(frozen=True)
class Silent:
    max_sym_per_frame: int = 1
    blank_penalty: float = 0.0


@dataclass(frozen=True)
class Demanding:
    max_sym_per_frame: int = field(metadata={"help": "Symbols."})


PLAIN = "it_finds_what_is_plainly_said"
FORM = "hypotheses_are_well_formed"
EMPTY = "a_stream_without_frames_has_said_nothing"
PIECES = "the_pieces_that_frames_come_in_do_not_matter"
STREAMS = "streams_do_not_see_each_other"
COMING = "streams_come_and_go"
RESULT = "asking_for_the_result_changes_nothing"
FRAMES = "it_leaves_encoder_frames_alone"
NAN = "nan_is_an_error"
LAST = "endpointing_learns_when_the_last_symbol_was_found"
CONTEXT = "it_goes_on_in_the_context_that_it_is_told"

# search, the checks that fail (what one of them says), no other
BROKEN_SEARCHES = [
    ("Deaf", "are said, and it finds []", {PLAIN, CONTEXT, LAST}),
    ("OneFrameLate", "and it finds [3, ", {PLAIN, FORM, LAST}),
    ("KeepsBlanks", "are blanks", {PLAIN, FORM, EMPTY, CONTEXT, LAST}),
    ("ForgetsTimestamps", "tokens have 0 timestamps", {PLAIN, FORM, LAST}),
    ("CountsWrongly", "a score is nan", {FORM, PIECES, STREAMS, COMING, RESULT, LAST}),
    ("SpeaksFirst", "without frames it finds [1]", {FORM, EMPTY}),
    ("StartsAgain", "frames in pieces of", {PIECES, COMING, RESULT, CONTEXT}),
    ("MixesStreams", "of three", {COMING}),
    ("SharesTheScore", "the score is", {STREAMS, COMING}),
    ("GivesItsOwnLists", "often asked for", {RESULT}),
    (
        "WritesIntoFrames",
        "writes into the encoder's frames",
        {FRAMES, STREAMS, COMING, PIECES, RESULT},
    ),
    ("BearsNan", "as if nothing had happened", {NAN}),
    ("NeverSaysWhen", "the last symbol is at None", {LAST}),
    ("NeedsStreams", "IndexError", {EMPTY}),
    ("ForgetsTheContext", "it finds [3, 5]", {CONTEXT}),
]


@pytest.mark.parametrize(("search", "says", "expected"), BROKEN_SEARCHES)
def test_a_broken_method_fails_the_checks_of_what_is_broken(
    replaced: Replaced, failures: Failures, search: str, says: str, expected: set[str]
) -> None:
    replaced(registry().decoding_methods, "greedy_search", search=LazyRef(f"{__name__}:{search}"))
    found = failures(QuickConformance)
    assert set(found) == expected
    assert any(says in message for message in found.values()), found


@pytest.mark.parametrize(
    ("options", "says"),
    [("Silent", "Silent.max_sym_per_frame has no help"), ("Demanding", "has no default")],
)
def test_options_that_do_not_explain_themselves_are_found(
    replaced: Replaced, failures: Failures, options: str, says: str
) -> None:
    replaced(registry().decoding_methods, "greedy_search", options=LazyRef(f"{__name__}:{options}"))
    check = "its_options_explain_themselves"
    assert says in failures(QuickConformance, check)[check]


def test_options_that_import_torch_are_found(replaced: Replaced, failures: Failures) -> None:
    heavy = LazyRef("calve_transducer.model.transducer:Transducer")
    replaced(registry().decoding_methods, "greedy_search", options=heavy)

    class Conformance(DecoderConformance):
        decoder = "greedy_search"

    check = "importing_the_plugin_imports_nothing_heavy"
    assert "imports torch" in failures(Conformance, check)[check]


def test_a_name_that_nobody_registers_is_found(failures: Failures) -> None:
    class Conformance(DecoderConformance):
        decoder = "no_such_search"

    message = failures(Conformance, "its_name_is_its_own")["its_name_is_its_own"]
    assert "no plugin registers the decoding method 'no_such_search'" in message
