"""Fast beam search, against icefall and k2, and against its own definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import calve
from calve.data.tokens import SymbolTable
from calve.decoding.search import make_search
from calve.errors import ConfigError, DataError
from calve.protocols import Hypothesis
from calve_graphs.graph import DecodingGraph, trivial_graph
from calve_transducer.runtime import TorchSession
from calve_transducer.searches.lattice import Lattice

from .conftest import (
    Decoding,
    check_nan_is_named,
    check_pieces,
    check_streams_coming_and_going,
    found,
    found_together,
    noise,
)

SYMBOLS = SymbolTable(("<blk>", "a", "<unk>", "b", "c", "d"))
UNKNOWN = 2
SETS = ("", "_temp", "_ilme", "_blank_penalty")
OPTIONS = ("beam", "max_contexts", "max_states", "temperature", "ilme_scale", "blank_penalty")


def cases(decoding: Decoding) -> list[dict[str, Any]]:
    return [case for name in SETS for case in decoding.results[f"fast_beam_search_trivial{name}"]]


def options_of(case: dict[str, Any]) -> dict[str, Any]:
    return {name: case[name] for name in OPTIONS if name in case}


def test_it_finds_what_icefall_finds(decoding: Decoding, fsa_backend: str):
    assert len(cases(decoding)) == 11
    for case in cases(decoding):
        search = make_search(
            "fast_beam_search", decoding.session, **options_of(case), fsa_backend=fsa_backend
        )
        results = found_together(search, decoding.utterances)
        for utterance in np.flatnonzero(case["stable"]):
            result = results[utterance]
            assert result.tokens == case["hyps"][utterance]
            assert result.timestamps == case["timestamps"][utterance]
            expected = case["best_path"][utterance]["total"]
            assert result.score == pytest.approx(expected, abs=1e-3)


def test_it_keeps_the_paths_that_k2_keeps(decoding: Decoding, fsa_backend: str):
    with_lattice = [case for case in cases(decoding) if "arcs" in case["lattice"]]
    assert with_lattice
    for case in with_lattice:
        search = make_search(
            "fast_beam_search", decoding.session, **options_of(case), fsa_backend=fsa_backend
        )
        streams = [search.start() for _ in decoding.utterances]
        search.advance(streams, decoding.utterances)
        arcs = case["lattice"]["arcs"].split(arcs_of_each_utterance(case["lattice"]))
        scores = case["lattice"]["scores"].split(arcs_of_each_utterance(case["lattice"]))
        for stream, their_arcs, their_scores in zip(streams, arcs, scores, strict=True):
            columns = search.walker.lattice(stream.walking, allow_partial=False)
            ours = without_dead_ends(*arcs_and_scores(Lattice(*columns), search._graph))
            theirs = without_dead_ends(their_arcs.numpy(), their_scores.numpy())
            np.testing.assert_array_equal(ours[0], theirs[0])
            np.testing.assert_allclose(ours[1], theirs[1], atol=1e-4)


def arcs_of_each_utterance(lattice: dict[str, Any]) -> list[int]:
    splits = lattice["arc_row_splits"][lattice["state_row_splits"].long()]
    return splits.diff().tolist()


def arcs_and_scores(lattice: Lattice, graph: DecodingGraph) -> tuple[np.ndarray, np.ndarray]:
    label = np.where(lattice.graph_arc < 0, 0, graph.label[lattice.graph_arc])
    label[lattice.destination == lattice.num_states - 1] = -1
    return np.stack([lattice.source, lattice.destination, label], axis=1), lattice.score


def without_dead_ends(arcs: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What leads to the final state; k2 also keeps arcs of the sentences that ended too early."""
    useful = {int(arcs[:, 1].max())}
    for source, destination, _ in arcs[::-1].tolist():
        if destination in useful:
            useful.add(source)
    kept = [destination in useful for destination in arcs[:, 1].tolist()]
    return arcs[kept], scores[kept]


def test_through_calves_front_door_it_takes_icefalls_options(decoding: Decoding):
    case = decoding.results["fast_beam_search_trivial"][1]
    lengths = [len(frames) for frames in decoding.utterances]
    padded = np.zeros((len(lengths), max(lengths), decoding.utterances[0].shape[1]), np.float32)
    for row, frames in zip(padded, decoding.utterances, strict=True):
        row[: len(frames)] = frames
    results = calve.search(
        decoding.session, padded, np.array(lengths), "fast_beam_search", **options_of(case)
    )
    assert [result.tokens for result in results] == case["hyps"]


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 31), max_size=8).map(sorted), max_states=st.integers(1, 20))
def test_the_result_does_not_depend_on_how_the_frames_are_cut(
    decoding: Decoding, cuts: list[int], max_states: int
):
    search = make_search("fast_beam_search", decoding.session, max_states=max_states)
    check_pieces(search, decoding.utterances[2], cuts)


@pytest.mark.parametrize("seed", range(10))
def test_streams_that_come_and_go_find_what_each_alone_finds(
    random_session: TorchSession, seed: int, fsa_backend: str
):
    search = make_search(
        "fast_beam_search", random_session, max_contexts=1 + seed, fsa_backend=fsa_backend
    )
    utterances = [noise(length, length) for length in (40, 1, 25, 60, 7, 33)]
    check_streams_coming_and_going(search, utterances, seed)


def by_definition(
    session: TorchSession, frames: np.ndarray, tokens: set[int], graph: DecodingGraph
) -> tuple[list[int], float]:
    """The best of all alignments, without any pruning, in double precision."""
    best: dict[tuple[tuple[int, ...], int], tuple[float, list[int]]]
    best = {((0,) * session.context_size, 0): (0.0, [])}
    for frame in frames[:-1]:
        following: dict[Any, tuple[float, list[int]]] = {}
        for (context, state), (score, said) in best.items():
            logits = session.join(frame[None], session.decode_context(np.array([context])))[0]
            log_probs = logits.astype(np.float64) - np.logaddexp.reduce(logits.astype(np.float64))
            reached = [((context, state), score + log_probs[0], said)]
            for arc in range(graph.arc_splits[state], graph.arc_splits[state + 1]):
                label = int(graph.label[arc])
                if label in tokens:
                    key = ((*context[1:], label), int(graph.destination[arc]))
                    total = score + float(graph.score[arc]) + log_probs[label]
                    reached.append((key, total, [*said, label]))
            for key, total, longer in reached:
                if total > following.get(key, (-math.inf, []))[0]:
                    following[key] = (total, longer)
        best = following
    is_final = {s for s in range(graph.num_states) if -1 in labels_leaving(graph, s)}
    score, said = max(value for (_, state), value in best.items() if state in is_final)
    return said, score


def labels_leaving(graph: DecodingGraph, state: int) -> list[int]:
    return graph.label[graph.arc_splits[state] : graph.arc_splits[state + 1]].tolist()


@pytest.mark.parametrize("with_unknown", [True, False])
def test_without_pruning_it_is_the_best_of_all_alignments(
    random_session: TorchSession, with_unknown: bool, fsa_backend: str
):
    tokens = set(range(1, 6)) - ({UNKNOWN} if with_unknown else set())
    search = make_search(
        "fast_beam_search",
        random_session,
        symbols=SYMBOLS if with_unknown else None,
        beam=1000.0,
        max_contexts=1000,
        max_states=1000,
        fsa_backend=fsa_backend,
    )
    emitted = 0
    for seed in range(6):
        frames = 2 * noise(20, seed)
        said, score = by_definition(random_session, frames, tokens, trivial_graph(6))
        result = found(search, frames)
        assert result.tokens == said
        assert result.score == pytest.approx(score, rel=1e-5)
        emitted += len(said)
    assert emitted


def test_no_frames_give_an_empty_hypothesis(random_session: TorchSession, fsa_backend: str):
    search = make_search("fast_beam_search", random_session, fsa_backend=fsa_backend)
    assert found(search, noise(0, seed=0)) == Hypothesis()
    search.advance([], [])


def test_a_result_is_that_of_the_frames_so_far(random_session: TorchSession, fsa_backend: str):
    search = make_search("fast_beam_search", random_session, fsa_backend=fsa_backend)
    frames = noise(30, seed=2)
    stream = search.start()
    for size in range(1, 31):
        search.advance([stream], [frames[size - 1 : size]])
        assert search.result(stream) == found(search, frames[:size])


def test_nan_in_one_stream_names_it_and_leaves_all_streams_as_they_were(
    random_session: TorchSession, fsa_backend: str
):
    search = make_search("fast_beam_search", random_session, fsa_backend=fsa_backend)
    stream, before = check_nan_is_named(search, noise)
    search.advance([stream], [noise(9, 5)])
    assert search.result(stream) != before


def test_nan_after_another_streams_last_frame_leaves_both_as_they_were(
    random_session: TorchSession, fsa_backend: str
):
    search = make_search("fast_beam_search", random_session, fsa_backend=fsa_backend)
    streams = [search.start(), search.start()]
    search.advance(streams, [noise(5, 0), noise(5, 1)])
    before = [search.result(stream) for stream in streams]
    broken = noise(9, 2)
    broken[8, 0] = np.nan
    with pytest.raises(DataError, match="stream 1, encoder frame 13"):
        search.advance(streams, [noise(3, 3), broken])
    assert [search.result(stream) for stream in streams] == before
    search.advance(streams, [noise(3, 3), noise(9, 4)])
    alone = found(search, noise(5, 0), noise(3, 3))
    assert search.result(streams[0]).tokens == alone.tokens


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0.0}, "beam is 0.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"max_contexts": 0}, "max_contexts is 0"),
        ({"max_states": 0}, "max_states is 0"),
        ({"num_paths": 5}, "no option 'num_paths'"),
    ],
)
def test_options_that_cannot_be_right_are_refused(
    random_session: TorchSession, options: dict[str, Any], message: str
):
    with pytest.raises(ConfigError, match=message):
        make_search("fast_beam_search", random_session, **options)
