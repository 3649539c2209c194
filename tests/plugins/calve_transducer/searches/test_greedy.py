"""Greedy search, against icefall's results and against its own definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calve.api import Conventions
from calve.data.tokens import SymbolTable
from calve.errors import DataError
from calve_transducer.runtime import TorchSession
from calve_transducer.searches.greedy import GreedySearch, GreedySearchOptions

from .conftest import (
    Decoding,
    check_nan_is_named,
    check_no_frames,
    check_pieces,
    check_streams_coming_and_going,
    found,
    found_together,
    noise,
)

UNKNOWN = 2
SYMBOLS = SymbolTable(("<blk>", "a", "<unk>", "b", "c", "d"))


def greedy(session: TorchSession, **options: Any) -> GreedySearch:
    """A search; ``symbols`` and ``initial_symbol`` may be among its options."""
    outer = {name: options.pop(name) for name in ("symbols", "initial_symbol") if name in options}
    return GreedySearch(session, GreedySearchOptions(**options), **outer)


@pytest.mark.parametrize("max_sym_per_frame", [1, 2, 3])
def test_it_finds_what_icefall_finds(decoding: Decoding, max_sym_per_frame: int):
    expected = decoding.results[f"greedy_search_max_sym_{max_sym_per_frame}"]
    search = greedy(decoding.session, max_sym_per_frame=max_sym_per_frame, initial_symbol=-1)
    results = [found(search, frames) for frames in decoding.utterances]
    assert [result.tokens for result in results] == expected["hyps"]
    assert [result.timestamps for result in results] == expected["timestamps"]


@pytest.mark.parametrize("blank_penalty", [0.0, 1.5])
def test_a_batch_gives_what_icefalls_batch_gives(decoding: Decoding, blank_penalty: float):
    suffix = f"_blank_penalty_{blank_penalty}" if blank_penalty else ""
    expected = decoding.results[f"greedy_search_batch{suffix}"]
    search = greedy(decoding.session, blank_penalty=blank_penalty, initial_symbol=-1)
    results = found_together(search, decoding.utterances)
    assert [result.tokens for result in results] == expected["hyps"]
    assert [result.timestamps for result in results] == expected["timestamps"]


@settings(max_examples=30)
@given(
    cuts=st.lists(st.integers(0, 31), max_size=8).map(sorted),
    max_sym_per_frame=st.integers(1, 3),
)
def test_the_result_does_not_depend_on_how_the_frames_are_cut(
    decoding: Decoding, cuts: list[int], max_sym_per_frame: int
):
    search = greedy(decoding.session, max_sym_per_frame=max_sym_per_frame)
    check_pieces(search, decoding.utterances[2], cuts)


@pytest.mark.parametrize("seed", range(20))
def test_streams_that_come_and_go_find_what_each_alone_finds(
    random_session: TorchSession, seed: int
):
    search = greedy(random_session, max_sym_per_frame=1 + seed % 3)
    utterances = [noise(length, length) for length in (40, 1, 25, 60, 7, 33)]
    check_streams_coming_and_going(search, utterances, seed)


def by_definition(
    session: TorchSession, frames: np.ndarray, max_sym_per_frame: int, unk_id: int | None
) -> tuple[list[int], list[int], float]:
    """Greedy search one frame and one symbol at a time, in double precision."""
    context = [session.blank_id] * session.context_size
    tokens: list[int] = []
    timestamps: list[int] = []
    score = 0.0
    for time, frame in enumerate(frames):
        for _ in range(max_sym_per_frame):
            decoder_out = session.decode_context(np.array([context]))
            logits = session.join(frame[None], decoder_out)[0].astype(np.float64)
            log_probs = logits - np.logaddexp.reduce(logits)
            symbol = int(log_probs.argmax())
            score += log_probs[symbol]
            if symbol in (session.blank_id, unk_id):
                break
            tokens.append(symbol)
            timestamps.append(time)
            context = [*context[1:], symbol]
    return tokens, timestamps, score


@pytest.mark.parametrize("unk_id", [None, UNKNOWN])
@pytest.mark.parametrize("max_sym_per_frame", [1, 2, 3])
def test_it_is_greedy_search_by_its_definition(
    random_session: TorchSession, max_sym_per_frame: int, unk_id: int | None
):
    frames = noise(60, seed=3)
    tokens, timestamps, score = by_definition(random_session, frames, max_sym_per_frame, unk_id)
    assert tokens
    symbols = None if unk_id is None else SYMBOLS
    search = greedy(random_session, max_sym_per_frame=max_sym_per_frame, symbols=symbols)
    result = found(search, frames)
    assert (result.tokens, result.timestamps) == (tokens, timestamps)
    assert result.score == pytest.approx(score, rel=1e-5)


def test_the_unknown_symbol_is_what_the_definition_would_have_emitted(
    random_session: TorchSession,
):
    assert UNKNOWN in by_definition(random_session, noise(60, seed=3), 1, None)[0]


def test_no_frames_give_an_empty_hypothesis(random_session: TorchSession):
    check_no_frames(greedy(random_session))


def test_a_result_is_not_changed_by_what_follows(decoding: Decoding):
    frames = decoding.utterances[0]
    search = greedy(decoding.session)
    stream = search.start()
    search.advance([stream], [frames[:10]])
    early = search.result(stream)
    length = len(early.tokens)
    search.advance([stream], [frames[10:]])
    assert len(early.tokens) == length < len(search.result(stream).tokens)


def test_by_default_it_starts_as_the_sessions_real_runtime_does(decoding: Decoding):
    session, frames = decoding.session, decoding.utterances[0]
    like_sherpa_onnx = TorchSession(session.model, Conventions(projected=True, initial_symbol=-1))
    scores = [
        found(greedy(one, initial_symbol=initial_symbol), frames).score
        for one, initial_symbol in ((like_sherpa_onnx, None), (session, -1), (session, None))
    ]
    assert scores[0] == scores[1] != scores[2]


def test_nan_in_one_stream_names_it_and_leaves_all_streams_as_they_were(
    random_session: TorchSession,
):
    search = greedy(random_session)
    stream, before = check_nan_is_named(search, noise)
    search.advance([stream], [noise(9, 5)])
    assert search.result(stream).tokens != before.tokens


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3, 16)], "2 streams cannot share 1 arrays"),
        ([(3, 16), (16,)], "stream 1"),
        ([(3, 16), (3, 8)], "stream 1"),
    ],
)
def test_frames_of_a_wrong_shape_are_refused(
    random_session: TorchSession, shapes: list[tuple[int, ...]], message: str
):
    search = greedy(random_session)
    with pytest.raises(DataError, match=message):
        search.advance(
            [search.start(), search.start()], [np.zeros(shape, np.float32) for shape in shapes]
        )
