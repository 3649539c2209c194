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
from calve.errors import DataError
from calve.protocols import Hypothesis
from calve.tokens import SymbolTable
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_transducer.config import TransducerConfig
from calve_transducer.model import Transducer
from calve_transducer.runtime import TorchRuntime, TorchSession
from calve_transducer.searches.greedy import GreedySearch, GreedySearchOptions

UNKNOWN = 2
SYMBOLS = SymbolTable(("<blk>", "a", "<unk>", "b", "c", "d"))


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


def noise(length: int, seed: int) -> np.ndarray:
    """Encoder frames for `random_session`."""
    return np.random.default_rng(seed).normal(size=(length, 16)).astype(np.float32)


def frames_of(golden: dict[str, Any], session: TorchSession, utterance: int) -> np.ndarray:
    length = golden["encoder_out_lens"][utterance]
    return session.project(golden["encoder_out"][utterance, :length].numpy())


def greedy(session: TorchSession, **options: Any) -> GreedySearch:
    """A search; ``symbols`` and ``initial_symbol`` may be among its options."""
    outer = {name: options.pop(name) for name in ("symbols", "initial_symbol") if name in options}
    return GreedySearch(session, GreedySearchOptions(**options), **outer)


def found(search: GreedySearch, *pieces: np.ndarray) -> Hypothesis:
    """The result of one stream, fed piece by piece."""
    stream = search.start()
    for piece in pieces:
        search.advance([stream], [piece])
    return search.result(stream)


@pytest.mark.parametrize("max_sym_per_frame", [1, 2, 3])
def test_it_finds_what_icefall_finds(
    golden: dict[str, Any], session: TorchSession, max_sym_per_frame: int
):
    expected = golden[f"greedy_search_max_sym_{max_sym_per_frame}"]
    search = greedy(session, max_sym_per_frame=max_sym_per_frame, initial_symbol=-1)
    for utterance, tokens in enumerate(expected["hyps"]):
        result = found(search, frames_of(golden, session, utterance))
        assert result.tokens == tokens
        assert result.timestamps == expected["timestamps"][utterance]


@pytest.mark.parametrize("blank_penalty", [0.0, 1.5])
def test_a_batch_gives_what_icefalls_batch_gives(
    golden: dict[str, Any], session: TorchSession, blank_penalty: float
):
    suffix = f"_blank_penalty_{blank_penalty}" if blank_penalty else ""
    expected = golden[f"greedy_search_batch{suffix}"]
    search = greedy(session, blank_penalty=blank_penalty, initial_symbol=-1)
    streams = [search.start() for _ in expected["hyps"]]
    search.advance(streams, [frames_of(golden, session, index) for index in range(len(streams))])
    results = [search.result(stream) for stream in streams]
    assert [result.tokens for result in results] == expected["hyps"]
    assert [result.timestamps for result in results] == expected["timestamps"]


@settings(deadline=None, max_examples=30)
@given(
    cuts=st.lists(st.integers(0, 31), max_size=8).map(sorted),
    max_sym_per_frame=st.integers(1, 3),
)
def test_the_result_does_not_depend_on_how_the_frames_are_cut(
    golden: dict[str, Any], session: TorchSession, cuts: list[int], max_sym_per_frame: int
):
    frames = frames_of(golden, session, 2)
    search = greedy(session, max_sym_per_frame=max_sym_per_frame)
    whole, pieces = found(search, frames), found(search, *np.split(frames, cuts))
    assert (pieces.tokens, pieces.timestamps) == (whole.tokens, whole.timestamps)
    assert pieces.score == pytest.approx(whole.score, rel=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_streams_that_come_and_go_find_what_each_alone_finds(
    random_session: TorchSession, seed: int
):
    """In every call some of the streams get a few of their frames, in any order."""
    random = np.random.default_rng(seed)
    search = greedy(random_session, max_sym_per_frame=1 + seed % 3)
    utterances = [noise(length, length) for length in (40, 1, 25, 60, 7, 33)]
    streams = [search.start() for _ in utterances]
    left = list(utterances)
    while any(map(len, left)):
        chosen = random.permutation(len(streams))[: random.integers(1, 7)]
        counts = random.integers(0, 30, size=len(chosen))
        search.advance(
            [streams[index] for index in chosen],
            [left[index][:count] for index, count in zip(chosen, counts, strict=True)],
        )
        for index, count in zip(chosen, counts, strict=True):
            left[index] = left[index][count:]
    for stream, frames in zip(streams, utterances, strict=True):
        alone, together = found(search, frames), search.result(stream)
        assert (together.tokens, together.timestamps) == (alone.tokens, alone.timestamps)
        assert together.score == pytest.approx(alone.score, rel=1e-5)


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


def test_no_frames_give_an_empty_hypothesis(session: TorchSession):
    result = found(greedy(session), np.empty((0, 32), dtype=np.float32))
    assert (result.tokens, result.timestamps, result.score) == ([], [], 0.0)
    greedy(session).advance([], [])


def test_a_result_is_not_changed_by_what_follows(golden: dict[str, Any], session: TorchSession):
    frames = frames_of(golden, session, 0)
    search = greedy(session)
    stream = search.start()
    search.advance([stream], [frames[:10]])
    early = search.result(stream)
    length = len(early.tokens)
    search.advance([stream], [frames[10:]])
    assert len(early.tokens) == length < len(search.result(stream).tokens)


def test_by_default_it_starts_as_the_sessions_real_runtime_does(
    golden: dict[str, Any], session: TorchSession
):
    frames = frames_of(golden, session, 0)
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
    streams = [search.start() for _ in range(3)]
    search.advance(streams, [noise(5, seed) for seed in range(3)])
    before = [search.result(stream) for stream in streams]
    broken = noise(9, seed=4)
    broken[6, 3] = np.nan
    with pytest.raises(DataError, match="stream 1, encoder frame 11"):
        search.advance(streams, [noise(9, 5), broken, noise(9, 6)])
    assert [search.result(stream) for stream in streams] == before
    search.advance([streams[0]], [noise(9, 5)])
    assert search.result(streams[0]).tokens != before[0].tokens


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
