"""Greedy search, against icefall's results and against its own definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calve.api import Conventions
from calve.errors import ConfigError
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_transducer.config import TransducerConfig
from calve_transducer.model import Transducer
from calve_transducer.runtime import TorchRuntime, TorchSession
from calve_transducer.searches.greedy import GreedySearch

UNKNOWN = 2


@pytest.fixture(scope="module")
def golden(goldens: Path) -> dict[str, Any]:
    name = "lstm_transducer_stateless2.decoding.pt"
    stored: dict[str, Any] = torch.load(goldens / name, weights_only=True)
    return stored


@pytest.fixture(scope="module")
def session(golden: dict[str, Any]) -> TorchSession:
    """The decoder and joiner of the golden; its encoder is not used here."""
    encoder = LstmEncoder(LstmEncoderConfig(1, encoder_dim=32, rnn_hidden_size=48))
    model = Transducer(encoder, TransducerConfig(30, decoder_dim=32, joiner_dim=32))
    mismatch = model.load_state_dict(golden["state_dict"], strict=False)
    assert not mismatch.unexpected_keys
    return TorchRuntime.open(model.eval())


@pytest.fixture(scope="module")
def random_session() -> TorchSession:
    torch.manual_seed(1)
    encoder = LstmEncoder(LstmEncoderConfig(1, encoder_dim=16, rnn_hidden_size=24))
    model = Transducer(encoder, TransducerConfig(6, decoder_dim=16, joiner_dim=16))
    with torch.no_grad():
        for parameter in model.joiner.parameters():
            parameter.mul_(2.0)
    return TorchRuntime.open(model.eval())


def frames_of(golden: dict[str, Any], utterance: int) -> np.ndarray:
    length = golden["encoder_out_lens"][utterance]
    return golden["encoder_out"][utterance, :length].numpy()


@pytest.mark.parametrize("max_sym_per_frame", [1, 2, 3])
def test_it_finds_what_icefall_finds(
    golden: dict[str, Any], session: TorchSession, max_sym_per_frame: int
):
    expected = golden[f"greedy_search_max_sym_{max_sym_per_frame}"]
    for utterance, tokens in enumerate(expected["hyps"]):
        search = GreedySearch(session, max_sym_per_frame=max_sym_per_frame, initial_symbol=-1)
        search.accept(frames_of(golden, utterance))
        assert search.result().tokens == tokens
        assert search.result().timestamps == expected["timestamps"][utterance]


@settings(deadline=None, max_examples=30)
@given(
    cuts=st.lists(st.integers(0, 31), max_size=8).map(sorted),
    max_sym_per_frame=st.integers(1, 3),
)
def test_the_result_does_not_depend_on_how_the_frames_are_cut(
    golden: dict[str, Any], session: TorchSession, cuts: list[int], max_sym_per_frame: int
):
    frames = frames_of(golden, 2)
    whole = GreedySearch(session, max_sym_per_frame=max_sym_per_frame)
    whole.accept(frames)
    pieces = GreedySearch(session, max_sym_per_frame=max_sym_per_frame)
    for piece in np.split(frames, cuts):
        pieces.accept(np.ascontiguousarray(piece))
    assert pieces.result().tokens == whole.result().tokens
    assert pieces.result().timestamps == whole.result().timestamps
    assert pieces.result().score == pytest.approx(whole.result().score, rel=1e-5)


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
    frames = np.random.default_rng(3).normal(size=(60, 16)).astype(np.float32)
    tokens, timestamps, score = by_definition(random_session, frames, max_sym_per_frame, unk_id)
    assert tokens
    search = GreedySearch(random_session, max_sym_per_frame=max_sym_per_frame, unk_id=unk_id)
    search.accept(frames)
    assert search.result().tokens == tokens
    assert search.result().timestamps == timestamps
    assert search.result().score == pytest.approx(score, rel=1e-5)


def test_the_unknown_symbol_is_what_the_definition_would_have_emitted(
    random_session: TorchSession,
):
    frames = np.random.default_rng(3).normal(size=(60, 16)).astype(np.float32)
    assert UNKNOWN in by_definition(random_session, frames, 1, None)[0]


def test_no_frames_give_an_empty_hypothesis(session: TorchSession):
    search = GreedySearch(session)
    search.accept(np.empty((0, 32), dtype=np.float32))
    result = search.result()
    assert (result.tokens, result.timestamps, result.score) == ([], [], 0.0)


def test_a_result_is_not_changed_by_what_follows(golden: dict[str, Any], session: TorchSession):
    frames = frames_of(golden, 0)
    search = GreedySearch(session)
    search.accept(frames[:10])
    early = search.result()
    length = len(early.tokens)
    search.accept(frames[10:])
    assert len(early.tokens) == length < len(search.result().tokens)


def test_by_default_it_starts_as_the_sessions_real_runtime_does(
    golden: dict[str, Any], session: TorchSession
):
    frames = frames_of(golden, 0)
    like_sherpa_onnx = TorchSession(session.model, Conventions(initial_symbol=-1))
    scores = []
    for one, initial_symbol in ((like_sherpa_onnx, None), (session, -1), (session, None)):
        search = GreedySearch(one, initial_symbol=initial_symbol)
        search.accept(frames)
        scores.append(search.result().score)
    assert scores[0] == scores[1] != scores[2]


def test_zero_symbols_per_frame_are_refused(session: TorchSession):
    with pytest.raises(ConfigError, match="at least 1"):
        GreedySearch(session, max_sym_per_frame=0)
