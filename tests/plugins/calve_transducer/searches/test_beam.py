"""Beam search, against icefall's results and against its own definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calve.data.tokens import SymbolTable
from calve.decoding.search import make_search
from calve.errors import ConfigError
from calve_transducer.runtime import TorchSession
from calve_transducer.searches.beam import BeamSearch, BeamSearchOptions

from .conftest import (
    Decoding,
    check_nan_is_named,
    check_no_frames,
    check_streams_coming_and_going,
    found,
    found_together,
    speech,
)

SYMBOLS = SymbolTable(("<blk>", "a", "<unk>", "b", "c", "d"))


def beam_search(session: TorchSession, **options: Any) -> BeamSearch:
    """A search; ``symbols`` and ``initial_symbol`` may be among its options."""
    outer = {name: options.pop(name) for name in ("symbols", "initial_symbol") if name in options}
    return BeamSearch(session, BeamSearchOptions(**options), **outer)


@pytest.mark.parametrize(("beam", "temperature"), [(4, 1.0), (2, 1.0), (4, 1.5)])
def test_it_finds_what_icefall_finds(decoding: Decoding, beam: int, temperature: float):
    expected = decoding.results[f"beam_search_beam_{beam}_temp_{temperature}"]
    search = beam_search(decoding.session, beam=beam, temperature=temperature, initial_symbol=-1)
    results = found_together(search, decoding.utterances)
    assert [result.tokens for result in results] == expected["hyps"]
    assert [result.timestamps for result in results] == expected["timestamps"]
    scores = [result.score for result in results]
    assert scores == pytest.approx(expected["best_log_prob"], abs=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_streams_that_come_and_go_find_what_each_alone_finds(
    random_session: TorchSession, seed: int
):
    search = beam_search(random_session, beam=1 + seed % 3, max_sym_per_frame=2)
    utterances = [speech(length, length) for length in (40, 1, 25, 7, 33)]
    check_streams_coming_and_going(search, utterances, seed)


@pytest.mark.parametrize("max_sym_per_frame", [1, 2])
def test_no_frame_emits_more_symbols_than_it_may(
    random_session: TorchSession, max_sym_per_frame: int
):
    search = beam_search(random_session, max_sym_per_frame=max_sym_per_frame)
    counts = np.bincount(found(search, speech(60, seed=2)).timestamps)
    assert counts.max() == max_sym_per_frame


def test_a_model_that_never_says_blank_gets_done_with_every_frame(random_session: TorchSession):
    """icefall's search would go on emitting symbols in the first frame."""
    joined = []

    class Talkative(TorchSession):
        def join(self, encoder_out: np.ndarray, decoder_out: np.ndarray) -> np.ndarray:
            joined.append(len(encoder_out))
            logits = super().join(encoder_out, decoder_out)
            logits[:, self.blank_id] -= 1000
            return logits

    search = beam_search(Talkative(random_session.model), beam=4, max_sym_per_frame=3)
    result = found(search, speech(5, seed=2))
    assert result.tokens
    assert np.isfinite(result.score)
    assert sum(joined) <= 5 * (4 + 4 * (3 + 1))


def test_the_unknown_symbol_is_never_emitted(random_session: TorchSession):
    frames = speech(60, seed=3)
    unknown = SYMBOLS.unk_id
    assert unknown in found(beam_search(random_session), frames).tokens
    assert unknown not in found(beam_search(random_session, symbols=SYMBOLS), frames).tokens


def test_no_frames_give_an_empty_hypothesis(random_session: TorchSession):
    check_no_frames(beam_search(random_session))


def test_nan_in_one_stream_names_it_and_leaves_all_streams_as_they_were(
    random_session: TorchSession,
):
    search = beam_search(random_session)
    check_nan_is_named(search, speech)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "beam is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"max_sym_per_frame": 0}, "max_sym_per_frame is 0"),
    ],
)
def test_options_that_cannot_be_right_are_refused(
    random_session: TorchSession, options: dict[str, Any], message: str
):
    with pytest.raises(ConfigError, match=message):
        make_search("beam_search", random_session, **options)
