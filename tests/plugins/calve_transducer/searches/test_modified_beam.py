"""Modified beam search, against icefall's results and against its own definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calve.data.tokens import SymbolTable
from calve.decoding.search import make_search
from calve.errors import ConfigError
from calve_transducer.runtime import TorchSession
from calve_transducer.searches.modified_beam import ModifiedBeamSearch, ModifiedBeamSearchOptions

from .conftest import (
    Decoding,
    check_nan_is_named,
    check_no_frames,
    check_pieces,
    check_streams_coming_and_going,
    found,
    found_together,
    speech,
)

UNKNOWN = 2
SYMBOLS = SymbolTable(("<blk>", "a", "<unk>", "b", "c", "d"))

CASES = [
    (4, 1.0, 0.0),
    (1, 1.0, 0.0),
    (8, 1.0, 0.0),
    (4, 1.7, 0.0),
    (4, 1.0, 1.2),
]


def modified_beam(session: TorchSession, **options: Any) -> ModifiedBeamSearch:
    """A search; ``symbols`` and ``initial_symbol`` may be among its options."""
    outer = {name: options.pop(name) for name in ("symbols", "initial_symbol") if name in options}
    return ModifiedBeamSearch(session, ModifiedBeamSearchOptions(**options), **outer)


@pytest.mark.parametrize(("beam", "temperature", "blank_penalty"), CASES)
def test_it_finds_what_icefall_finds(
    decoding: Decoding, beam: int, temperature: float, blank_penalty: float
):
    name = f"modified_beam_search_beam_{beam}_temp_{temperature}_bp_{blank_penalty}"
    expected = decoding.results[name]
    search = modified_beam(
        decoding.session,
        beam=beam,
        temperature=temperature,
        blank_penalty=blank_penalty,
        initial_symbol=-1,
    )
    results = found_together(search, decoding.utterances)
    assert [result.tokens for result in results] == expected["hyps"]
    assert [result.timestamps for result in results] == expected["timestamps"]
    scores = [result.score for result in results]
    assert scores == pytest.approx(expected["best_log_prob"], abs=1e-3)


def test_all_hypotheses_that_are_left_are_icefalls(decoding: Decoding):
    expected = decoding.results["modified_beam_search_beam_8_temp_1.0_bp_0.0"]["final_beams"]
    search = modified_beam(decoding.session, beam=8, initial_symbol=-1)
    for utterance, frames in enumerate(decoding.utterances):
        stream = search.start()
        search.advance([stream], [frames])
        ours = {
            tuple(beam.path.symbols_and_frames()[0]): (
                beam.path.symbols_and_frames()[1],
                beam.log_prob,
            )
            for beam in stream.beams
        }
        theirs = {
            tuple(beam["ys"][2:]): (beam["timestamp"], pytest.approx(beam["log_prob"], abs=1e-3))
            for beam in expected[utterance]
        }
        assert ours == theirs


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 31), max_size=8).map(sorted), beam=st.integers(1, 6))
def test_the_result_does_not_depend_on_how_the_frames_are_cut(
    decoding: Decoding, cuts: list[int], beam: int
):
    search = modified_beam(decoding.session, beam=beam)
    check_pieces(search, decoding.utterances[2], cuts)


@pytest.mark.parametrize("seed", range(10))
def test_streams_that_come_and_go_find_what_each_alone_finds(
    random_session: TorchSession, seed: int
):
    search = modified_beam(random_session, beam=1 + seed % 5)
    utterances = [speech(length, length) for length in (40, 1, 25, 60, 7, 33)]
    check_streams_coming_and_going(search, utterances, seed)


def log_probs_of(session: TorchSession, frame: np.ndarray, tokens: tuple[int, ...]) -> np.ndarray:
    padded = (session.blank_id,) * session.context_size + tokens
    context = np.array([padded[len(tokens) :]])
    logits = session.join(frame[None], session.decode_context(context))[0].astype(np.float64)
    return logits - np.logaddexp.reduce(logits)


def by_definition(
    session: TorchSession,
    frames: np.ndarray,
    beam: int,
    silent: set[int],
    bias: Callable[[tuple[int, ...]], float] = lambda symbols: 0.0,
) -> tuple[tuple[int, ...], float]:
    """Modified beam search, one hypothesis at a time, in double precision."""
    kept = {(): 0.0}
    for frame in frames:
        continued = []
        for tokens, score in kept.items():
            for symbol, log_prob in enumerate(log_probs_of(session, frame, tokens)):
                longer = tokens if symbol in silent else (*tokens, symbol)
                gain = bias(longer) - bias(tokens)
                continued.append((score + log_prob + gain, longer))
        kept = {}
        for score, tokens in sorted(continued, reverse=True)[:beam]:
            kept[tokens] = np.logaddexp(kept[tokens], score) if tokens in kept else score
    best = max(kept, key=lambda tokens: kept[tokens] / (len(tokens) + session.context_size))
    return best, kept[best]


@pytest.mark.parametrize("beam", [1, 3, 12])
@pytest.mark.parametrize("with_unknown", [True, False])
def test_it_is_modified_beam_search_by_its_definition(
    random_session: TorchSession, beam: int, with_unknown: bool
):
    silent = {random_session.blank_id} | ({UNKNOWN} if with_unknown else set())
    symbols = SYMBOLS if with_unknown else None
    search = modified_beam(random_session, beam=beam, symbols=symbols)
    for seed in range(4):
        frames = speech(30, seed)
        tokens, score = by_definition(random_session, frames, beam, silent)
        result = found(search, frames)
        assert tokens
        assert tuple(result.tokens) == tokens
        assert result.score == pytest.approx(score, rel=1e-5)


def test_more_hypotheses_than_continuations_are_no_error(random_session: TorchSession):
    """With a beam that never overflows, the score is that of all alignments together."""
    frames = speech(3, seed=5)
    search = modified_beam(random_session, beam=1000)
    stream = search.start()
    search.advance([stream], [frames])
    everything = np.logaddexp.reduce([beam.log_prob for beam in stream.beams])
    assert len(stream.beams) == 1 + 5 + 25 + 125
    assert everything == pytest.approx(0.0, abs=1e-5)


def test_a_score_stays_exact_in_a_long_stream(random_session: TorchSession):
    frames = np.tile(speech(50, seed=6), (40, 1))
    search = modified_beam(random_session, beam=2)
    tokens, score = by_definition(random_session, frames, 2, {random_session.blank_id})
    result = found(search, frames)
    assert tuple(result.tokens) == tokens
    assert result.score == pytest.approx(score, rel=1e-6)


def test_no_frames_give_an_empty_hypothesis(random_session: TorchSession):
    check_no_frames(modified_beam(random_session))


def test_nan_in_one_stream_names_it_and_leaves_all_streams_as_they_were(
    random_session: TorchSession,
):
    search = modified_beam(random_session)
    stream, before = check_nan_is_named(search, speech)
    search.advance([stream], [speech(9, 5)])
    assert search.result(stream) != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "beam is 0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
    ],
)
def test_options_that_cannot_be_right_are_refused(
    random_session: TorchSession, options: dict[str, Any], message: str
):
    with pytest.raises(ConfigError, match=message):
        make_search("modified_beam_search", random_session, **options)
