"""What the tests of searches share: icefall's results, and a random model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calve.api import DataError
from calve.data.tokens import SymbolTable
from calve.protocols import Hypothesis, Search
from calve_graphs.graph import DecodingGraph
from calve_graphs.preparation import prepare_graph
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_transducer.model.config import TransducerConfig
from calve_transducer.model.transducer import Transducer
from calve_transducer.runtime import TorchRuntime, TorchSession


@dataclass(frozen=True)
class Decoding:
    """What icefall's searches found in five utterances.

    Attributes:
      results: By method and options.
      session: The decoder and joiner of the golden; its encoder is another.
      utterances: Encoder frames of each utterance, as the session's joiner takes them.
    """

    results: dict[str, Any]
    session: TorchSession
    utterances: list[np.ndarray]


@pytest.fixture(
    scope="session", params=["lstm_transducer_stateless2", "pruned_transducer_stateless5"]
)
def decoding(goldens: Path, request: pytest.FixtureRequest) -> Decoding:
    results = torch.load(goldens / f"{request.param}.decoding.pt", weights_only=True)
    session = open_session(results["state_dict"])
    frames = zip(results["encoder_out"], results["encoder_out_lens"], strict=True)
    return Decoding(results, session, [session.project(x[:n].numpy()) for x, n in frames])


def open_session(state_dict: dict[str, torch.Tensor]) -> TorchSession:
    encoder = LstmEncoder(LstmEncoderConfig(1, encoder_dim=32, rnn_hidden_size=48))
    model = Transducer(encoder, TransducerConfig(30, decoder_dim=32, joiner_dim=32))
    assert not model.load_state_dict(state_dict, strict=False).unexpected_keys
    return TorchRuntime.open(model.eval())


@pytest.fixture(scope="session")
def random_session() -> TorchSession:
    """Six symbols, 16 dimensions, and hardly ever sure of itself."""
    torch.manual_seed(1)
    encoder = LstmEncoder(LstmEncoderConfig(1, encoder_dim=16, rnn_hidden_size=24))
    model = Transducer(encoder, TransducerConfig(6, decoder_dim=16, joiner_dim=16))
    with torch.no_grad():
        for parameter in model.joiner.parameters():
            parameter.mul_(2.0)
    return TorchRuntime.open(model.eval())


@pytest.fixture(params=["calve", "k2-elsewhere"])
def fsa_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What walks through graphs: calve's own walker, or k2's in k2's own environment."""
    name: str = request.param
    if name != "calve":
        monkeypatch.setenv("CALVE_K2_PYTHON", str(request.getfixturevalue("k2_python")))
    return name


def noise(length: int, seed: int) -> np.ndarray:
    """Encoder frames for `random_session`."""
    return np.random.default_rng(seed).normal(size=(length, 16)).astype(np.float32)


def speech(length: int, seed: int) -> np.ndarray:
    """The same, so loud that most frames emit a symbol."""
    return 4.0 * noise(length, seed)


def found(search: Search, *pieces: np.ndarray, **options: Any) -> Hypothesis:
    """The result of one stream, fed piece by piece."""
    stream = search.start(**options)
    for piece in pieces:
        search.advance([stream], [piece])
    return search.result(stream)


def found_together(search: Search, utterances: Sequence[np.ndarray]) -> list[Hypothesis]:
    """The results of one stream for each utterance, fed at once."""
    streams = [search.start() for _ in utterances]
    search.advance(streams, utterances)
    return [search.result(stream) for stream in streams]


def found_coming_and_going(
    search: Search, utterances: Sequence[np.ndarray], seed: int
) -> list[Hypothesis]:
    """The same, but every call feeds a few frames of some of the streams, in any order."""
    random = np.random.default_rng(seed)
    streams = [search.start() for _ in utterances]
    left = list(utterances)
    while any(map(len, left)):
        chosen = random.permutation(len(streams))[: random.integers(1, len(streams) + 1)]
        counts = random.integers(0, 30, size=len(chosen))
        search.advance(
            [streams[index] for index in chosen],
            [left[index][:count] for index, count in zip(chosen, counts, strict=True)],
        )
        for index, count in zip(chosen, counts, strict=True):
            left[index] = left[index][count:]
    return [search.result(stream) for stream in streams]


def check_streams_coming_and_going(
    search: Search, utterances: Sequence[np.ndarray], seed: int
) -> None:
    """Together they find what each finds alone."""
    results = found_coming_and_going(search, utterances, seed)
    for together, frames in zip(results, utterances, strict=True):
        check_alike(together, found(search, frames))


def check_pieces(search: Search, frames: np.ndarray, cuts: Sequence[int]) -> None:
    """Frames that are cut give what they give uncut."""
    check_alike(found(search, *np.split(frames, cuts)), found(search, frames))


def check_alike(result: Hypothesis, expected: Hypothesis) -> None:
    """The same symbols at the same times, and but for rounding the same score."""
    assert (result.tokens, result.timestamps) == (expected.tokens, expected.timestamps)
    assert result.score == pytest.approx(expected.score, rel=1e-5)


def check_no_frames(search: Search) -> None:
    """A stream without frames gives nothing, and no stream is no mistake."""
    result = found(search, noise(0, seed=0))
    assert (result.tokens, result.timestamps, result.score) == ([], [], 0.0)
    search.advance([], [])


def check_nan_is_named(
    search: Search, frames: Callable[[int, int], np.ndarray]
) -> tuple[Any, Hypothesis]:
    """NaN in one stream is an error that names it, and all streams stay as they were.

    Args:
      frames: `noise` or `speech`.

    Returns:
      The first stream, and what was found in it.
    """
    streams = [search.start() for _ in range(3)]
    search.advance(streams, [frames(5, seed) for seed in range(3)])
    before = [search.result(stream) for stream in streams]
    broken = frames(9, 4)
    broken[6, 3] = np.nan
    with pytest.raises(DataError, match="stream 1, encoder frame 11"):
        search.advance(streams, [frames(9, 5), broken, frames(9, 6)])
    assert [search.result(stream) for stream in streams] == before
    return streams[0], before[0]


@dataclass(frozen=True)
class Language:
    """icefall's lexicon and grammar of a golden, and the graphs made of them.

    Attributes:
      words: The words' table.
      tokens: The pieces' table, with disambiguation symbols.
      graphs: "icefall": as icefall compiled it; "calve": as calve does, read from `path`.
      path: The LG.npz.
    """

    words: SymbolTable
    tokens: SymbolTable
    graphs: dict[str, DecodingGraph]
    path: Path


@pytest.fixture(scope="session")
def language(decoding: Decoding, tmp_path_factory: pytest.TempPathFactory) -> Language:
    golden = decoding.results["LG"]
    folder = tmp_path_factory.mktemp("lang")
    lexicon = "".join(f"{word} {' '.join(pieces)}\n" for word, pieces in golden["lexicon"])
    (folder / "lexicon.txt").write_text(lexicon)
    for name in ("tokens.txt", "words.txt"):
        (folder / name).write_text(golden[name.replace(".", "_")])
    (folder / "lm.arpa").write_text(golden["arpa"])
    calves = prepare_graph(folder, folder / "lm.arpa")
    words = SymbolTable.read(folder / "words.txt")
    icefalls = DecodingGraph.from_arcs(
        *golden["LG_arcs"].numpy().T,
        golden["LG_scores"].numpy(),
        golden["LG_aux_labels"],
        words=words,
    )
    tokens = SymbolTable.read(folder / "tokens.txt")
    return Language(words, tokens, {"icefall": icefalls, "calve": calves}, folder / "LG.npz")
