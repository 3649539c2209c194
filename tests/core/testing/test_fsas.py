"""Each check of the FSA kit fails on a backend that is broken in just that way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from calve.testing import FsaBackendConformance
from calve_transducer.searches.walking import GraphWalk, GraphWalker

Failures = Callable[..., dict[str, str]]


class Broken(GraphWalker):
    """calve's own walker; what is wrong with it stands in the classes that derive from it."""

    def walk(self, streams):
        return self.walks(self, streams)

    walks = GraphWalk


class Scaled(Broken):
    """Counts every arc of the graph twice."""

    def __init__(self, arc_splits, destination, label, score, **limits):
        super().__init__(arc_splits, destination, label, 2 * score, **limits)


class Boundless(Broken):
    def __init__(self, *graph, beam, **limits):
        super().__init__(*graph, beam=1000.0, **limits)


class Generous(Broken):
    def __init__(self, *graph, max_states, **limits):
        super().__init__(*graph, max_states=2 * max_states, **limits)


class Hospitable(Broken):
    def __init__(self, *graph, max_contexts, **limits):
        super().__init__(*graph, max_contexts=2 * max_contexts, **limits)


class NeverPartial(Broken):
    def lattice(self, stream, *, allow_partial):
        return super().lattice(stream, allow_partial=False)


class AlwaysPartial(Broken):
    def lattice(self, stream, *, allow_partial):
        return super().lattice(stream, allow_partial=True)


class StartsInAnotherContext(Broken):
    class walks(GraphWalk):  # noqa: N801
        def contexts(self, active):
            owners, contexts = super().contexts(active)
            return owners, np.where(contexts == 0, 3, contexts)


class Repeats(Broken):
    """Asks for every context of the first stream twice."""

    class walks(GraphWalk):  # noqa: N801
        def contexts(self, active):
            owners, contexts = super().contexts(active)
            self.first = (owners == owners[:1]).sum()
            order = np.concatenate([np.arange(self.first), np.arange(len(owners))])
            return owners[order], contexts[order]

        def advance(self, log_probs):
            super().advance(log_probs[self.first :])


class Unsorted(Broken):
    def lattice(self, stream, *, allow_partial):
        *columns, num_states = super().lattice(stream, allow_partial=allow_partial)
        return *(column[::-1] for column in columns), num_states


class CountsAsFloats(Broken):
    def lattice(self, stream, *, allow_partial):
        source, *rest = super().lattice(stream, allow_partial=allow_partial)
        return source.astype(np.float64).astype(np.int64), *rest


class ScoresTheEnd(Broken):
    def lattice(self, stream, *, allow_partial):
        found = super().lattice(stream, allow_partial=allow_partial)
        source, destination, graph_arc, score, num_states = found
        return source, destination, graph_arc, score - (destination == num_states - 1), num_states


class BeginsWithOneState(Broken):
    def lattice(self, stream, *, allow_partial):
        *columns, num_states = super().lattice(stream, allow_partial=allow_partial)
        return *columns, max(num_states, 1)


class MixesStreams(Broken):
    class walks(GraphWalk):  # noqa: N801
        def finish(self):
            super().finish()
            for stream in self._streams[1:]:
                if self._streams[0].history and stream.history:
                    stream.history[-1] = self._streams[0].history[-1]


class ForgetsTheContext(Broken):
    """At the beginning of every walk."""

    def walk(self, streams):
        for stream in streams:
            num_states = len(self.graph.arc_splits) - 1
            stream.keys, kept = np.unique(stream.keys % num_states, return_index=True)
            stream.scores = stream.scores[kept]
        return super().walk(streams)


class GivesItsOwnArrays(Broken):
    def lattice(self, stream, *, allow_partial):
        *columns, num_states = super().lattice(stream, allow_partial=allow_partial)
        made = getattr(stream, "made", None)
        if made is None or made[-1] != num_states:
            stream.made = (*columns, num_states)
        return stream.made


class MovesAtOnce(Broken):
    """Does not wait for the walk's end."""

    class walks(GraphWalk):  # noqa: N801
        def advance(self, log_probs):
            super().advance(log_probs)
            super().finish()
            self.__init__(self._walker, self._streams)

        def finish(self):
            pass


class WritesIntoLogProbs(Broken):
    class walks(GraphWalk):  # noqa: N801
        def advance(self, log_probs):
            super().advance(log_probs)
            log_probs -= 1


PATHS = "without_limits_every_path_is_there"
BEAM = "the_beam_decides_what_is_followed"
STATES = "the_best_states_are_kept"
CONTEXTS = "the_best_contexts_are_kept"
PARTIAL = "a_sentence_that_may_be_partial_has_other_paths_only_if_it_does_not_end"
NETWORKS = "the_networks_score_each_context_once"
FORM = "a_lattice_is_well_formed"
EMPTY = "a_stream_without_frames_has_no_path"
STREAMS = "streams_do_not_see_each_other"
COMING = "streams_come_and_go"
ASKING = "asking_for_a_lattice_changes_nothing"
BREAKING = "a_walk_that_breaks_off_leaves_streams_as_they_were_or_unusable"
LEAVING = "it_leaves_log_probabilities_alone"

DEFINED = {PATHS, BEAM, STATES, CONTEXTS, PARTIAL}

# backend, what a check says, the checks that fail, no other
BROKEN_BACKENDS = [
    (Scaled, "with the score", DEFINED),
    (Boundless, "should not have survived", {BEAM}),
    (Generous, "should not have survived", {STATES, PARTIAL}),
    (Hospitable, "should not have survived", {CONTEXTS}),
    (NeverPartial, "that survive are missing", {PARTIAL}),
    (AlwaysPartial, "should not have survived", {BEAM, STATES, CONTEXTS}),
    (StartsInAnotherContext, "not with blanks", {NETWORKS, *DEFINED}),
    (Repeats, "the same context twice", {NETWORKS}),
    (Unsorted, "not sorted by their source", {FORM}),
    (CountsAsFloats, "arcs is int64", {FORM}),
    (ScoresTheEnd, "score something", {FORM, *DEFINED}),
    (BeginsWithOneState, "a lattice has 1 states", {EMPTY}),
    (MixesStreams, "stream 1 of 5", {STREAMS, COMING}),
    (ForgetsTheContext, "which came and went", {COMING, ASKING}),
    (GivesItsOwnArrays, "often asked for", {ASKING}),
    (MovesAtOnce, "whose walk broke off", {BREAKING}),
    (WritesIntoLogProbs, "writes into the log probabilities", {LEAVING}),
]


@pytest.mark.parametrize(("broken", "says", "expected"), BROKEN_BACKENDS)
def test_a_broken_backend_fails_the_checks_of_what_is_broken(
    failures: Failures, broken: type[GraphWalker], says: str, expected: set[str]
) -> None:
    class Conformance(FsaBackendConformance):
        def load(self, **limits: Any) -> Any:
            return self.on_the_graph(broken, **limits)

    found = failures(Conformance)
    assert set(found) == expected
    assert any(says in message for message in found.values()), found


def test_a_backend_that_is_not_installed_is_found(failures: Failures) -> None:
    class Conformance(FsaBackendConformance):
        backend = "no_such_backend"

    assert "there is no driver 'no_such_backend'" in failures(Conformance)[PATHS]
