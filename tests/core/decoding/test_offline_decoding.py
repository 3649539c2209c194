"""Decoding many whole utterances at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from small_models import SAMPLE_RATE, SYMBOLS, noise, small_conformer, small_lstm

from calve.bundles.bundle import Bundle
from calve.data.audio import Audio
from calve.data.features import FeatureConfig, compute_fbank
from calve.data.geometry import FLUSH_FRAMES
from calve.data.tokens import SymbolTable
from calve.data.utterances import Utterance
from calve.decoding.client_decoding import transcribe_with_client
from calve.decoding.decoded import Decoded
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.offline_decoding import decode_offline
from calve.decoding.offline_recognizer import OfflineRecognizer
from calve.decoding.online_decoding import StreamDecoder, StreamSearch
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.registry.catalog import registry
from calve_graphs.graph import DecodingGraph
from calve_transducer.runtime import TorchRuntime, TorchSession

GREEDY = DecodingMethod("greedy_search")


PADDING = math.log(1e-10)


@pytest.fixture(scope="module")
def lstm() -> TorchSession:
    return TorchRuntime.open(small_lstm())


@pytest.fixture(scope="module")
def conformer() -> TorchSession:
    return TorchRuntime.open(small_conformer("pruned_transducer_stateless5"))


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    """Several batches of very different lengths, some shorter than any encoder can work on."""
    lengths = np.random.default_rng(0).integers(3000, 24000, size=20).tolist()
    return [noise(number, samples) for number, samples in enumerate([*lengths, 90, 400, 900])]


def alone(session: TorchSession, utterance: Utterance, padding: int) -> tuple[str, list[float]]:
    """What greedy search makes of one utterance, after icefall's fashion."""
    features = compute_fbank(utterance.audio(SAMPLE_RATE).samples)
    tail = np.full((padding, 80), PADDING, dtype=np.float32)
    padded = np.concatenate([features, tail])
    least = np.full((max(0, 9 - len(padded)), 80), PADDING, dtype=np.float32)
    lengths = np.array([len(padded)])
    encoder_out, frames = session.encode(np.concatenate([padded, least])[np.newaxis], lengths)
    search = GREEDY.search(session, SYMBOLS, initial_symbol=-1)
    stream = search.start()
    search.advance([stream], [encoder_out[0, : max(0, frames[0])]])
    found = search.result(stream)
    starts = SYMBOLS.word_starts(found.tokens)
    return SYMBOLS.text(found.tokens), [0.04 * found.timestamps[index] for index in starts]


def test_a_batch_of_a_recurrent_encoder_gives_what_each_utterance_alone_gives(
    lstm: TorchSession, utterances: list[Utterance]
):
    decoded = decode_offline(lstm, SYMBOLS, utterances, [GREEDY], max_duration=5)["greedy_search"]
    assert decoded.failures == []
    found = {one.name: one for one in decoded.utterances}
    assert len(found) == len(utterances)
    for utterance in utterances:
        text, times = alone(lstm, utterance, FLUSH_FRAMES)
        assert found[utterance.name].hypothesis == text
        assert found[utterance.name].timestamps == pytest.approx(times)
    assert len({one.hypothesis for one in decoded.utterances}) > 10


def test_a_batch_of_a_conformer_gives_what_each_utterance_alone_gives(
    conformer: TorchSession, utterances: list[Utterance]
):
    decoded = decode_offline(conformer, SYMBOLS, utterances, [GREEDY], max_duration=5)
    found = {one.name: one.hypothesis for one in decoded["greedy_search"].utterances}
    assert found == {one.name: alone(conformer, one, 0)[0] for one in utterances}
    assert len(set(found.values())) > 10
    assert found["noise-20"] == ""


class Attending(torch.nn.Module):
    """Sees more in whole utterances than step by step, and has no ``stream_at_once``."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.geometry = encoder.geometry
        self.feature_dim, self.output_dim = encoder.feature_dim, encoder.output_dim
        self.state_batch_axis = encoder.state_batch_axis
        self.init_states, self.stream = encoder.init_states, encoder.stream

    def forward(self, x: torch.Tensor, x_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, y_lens = self.encoder(x, x_lens)
        return y - y.mean(1, keepdim=True), y_lens


@pytest.fixture(scope="module")
def attending(lstm: TorchSession) -> TorchSession:
    model = copy.copy(lstm.model)
    model.__dict__ = {**model.__dict__, "_modules": dict(model._modules)}
    model.encoder = Attending(lstm.model.encoder)
    return TorchSession(model)


@pytest.mark.parametrize("kind", ["lstm", "conformer", "attending"])
def test_simulated_streaming_gives_what_streaming_gives(
    kind: str, utterances: list[Utterance], request: pytest.FixtureRequest
):
    session = request.getfixturevalue(kind)
    simulated = decode_offline(
        session, SYMBOLS, utterances, [GREEDY], simulate_streaming=True, max_duration=5
    )["greedy_search"]
    variants = {"greedy_search": StreamSearch(GREEDY.search(session, SYMBOLS))}
    real = StreamDecoder(session, SYMBOLS, variants, num_streams=7).decode(utterances)
    expected = {one.name: one for one in real["greedy_search"].decoded.utterances}
    assert {one.name: one for one in simulated.utterances} == expected
    assert len({one.hypothesis for one in simulated.utterances}) > 10


def test_every_way_to_decode_says_the_words_of_the_graph(
    lstm: TorchSession, utterances: list[Utterance], tmp_path: Path
):
    tokens = np.arange(3, len(SYMBOLS))
    words = SymbolTable(("<eps>", *(f"WORD-{token}" for token in tokens)))
    graph = DecodingGraph.from_arcs(
        np.zeros(len(tokens) + 1, dtype=int),
        np.array([*np.zeros_like(tokens), 1]),
        np.array([*tokens, -1]),
        np.zeros(len(tokens) + 1),
        [*([number] for number in range(1, len(words))), []],
        words=words,
    )
    method = DecodingMethod("fast_beam_search_LG", {"LG": graph})
    simulated = decode_offline(lstm, SYMBOLS, utterances, [method], simulate_streaming=True)
    variants = {"LG": StreamSearch(method.search(lstm, SYMBOLS))}
    real = StreamDecoder(lstm, SYMBOLS, variants).decode(utterances)["LG"]
    expected = {one.name: one for one in real.decoded.utterances}
    assert {one.name: one for one in simulated[method.key].utterances} == expected
    streaming = OnlineRecognizer(lstm, SYMBOLS, method)
    offline = OfflineRecognizer(lstm, SYMBOLS, method, simulate_streaming=True)
    for utterance in utterances[:5]:
        audio = utterance.audio(SAMPLE_RATE)
        path = tmp_path / "a.wav"
        soundfile.write(path, audio.samples, SAMPLE_RATE, subtype="FLOAT")
        wanted = expected[utterance.name]
        assert wanted.hypothesis.startswith("WORD-")
        for found in (streaming.transcribe_audio(audio), offline.transcribe(path)):
            assert (found.text, found.word_timestamps) == (wanted.hypothesis, wanted.timestamps)
            assert [f"WORD-{SYMBOLS.id(token)}" for token in found.tokens] == list(found.words)


def _whole(
    session: TorchSession, utterances: Sequence[Utterance], method: DecodingMethod
) -> Decoded:
    return decode_offline(session, SYMBOLS, utterances, [method])[method.key]


def _streamed(
    session: TorchSession, utterances: Sequence[Utterance], method: DecodingMethod
) -> Decoded:
    variant = StreamSearch(method.search(session, SYMBOLS), stream_options=method.stream_options)
    return (
        StreamDecoder(session, SYMBOLS, {"": variant}, num_streams=4).decode(utterances)[""].decoded
    )


@pytest.mark.parametrize("decode", [_whole, _streamed])
def test_an_oracle_is_told_what_was_said(
    decode: Callable[..., Decoded], lstm: TorchSession, utterances: list[Utterance]
):
    oracle = DecodingMethod("fast_beam_search_nbest_oracle")

    def found(said: str | dict[str, str]) -> dict[str, str]:
        spoken = [
            replace(one, text=said if isinstance(said, str) else said[one.name])
            for one in utterances[:8]
        ]
        return {one.name: one.hypothesis for one in decode(lstm, spoken, oracle).utterances}

    # Of its paths, those with few words and with many w7.
    short, long = found(""), found(60 * "w7 ")
    assert all(len(short[name].split()) <= len(long[name].split()) for name in short)
    assert short != long
    assert found(short) == short
    assert found(long) == long


def test_simulated_streaming_sees_less_than_whole_utterances(
    conformer: TorchSession, utterances: list[Utterance]
):
    whole = decode_offline(conformer, SYMBOLS, utterances, [GREEDY])["greedy_search"]
    chunks = decode_offline(conformer, SYMBOLS, utterances, [GREEDY], simulate_streaming=True)
    assert whole.utterances != chunks["greedy_search"].utterances


def test_several_methods_share_what_the_encoder_gives(
    lstm: TorchSession, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
):
    encoded = []

    class Counting(TorchSession):
        def encode(self, features: Any, lengths: Any) -> Any:
            encoded.append(len(lengths))
            return super().encode(features, lengths)

    methods = [GREEDY, DecodingMethod("greedy_search", {"max_sym_per_frame": 3})]
    session = Counting(lstm.model)
    decoded = decode_offline(session, SYMBOLS, utterances, methods, max_duration=5)
    assert sum(encoded) == len(utterances)
    assert list(decoded) == ["greedy_search", "greedy_search_max_sym_per_frame_3"]
    for method in methods:
        single = decode_offline(lstm, SYMBOLS, utterances, [method], max_duration=5)
        assert single == {method.key: decoded[method.key]}


def test_bad_utterances_are_reported_and_do_not_stop_the_others(
    lstm: TorchSession, utterances: list[Utterance]
):
    def unreadable(sample_rate: int) -> Audio:
        raise OSError("gone")

    bad = [
        replace(noise(50, 8000), name="unreadable", read_audio=unreadable),
        replace(noise(51, 8000), name="unsaid", text=None),
        noise(52, 0),
    ]
    decoded = decode_offline(lstm, SYMBOLS, [*utterances, *bad], [GREEDY])["greedy_search"]
    assert {one.name: one.reason for one in decoded.failures} == {
        "unreadable": "cannot read the audio: OSError gone",
        "unsaid": "there is no reference transcript",
        "noise-52": "the recording holds no samples",
    }
    assert {one.name for one in decoded.utterances} == {one.name for one in utterances}


def test_an_utterance_whose_scores_are_nan_is_found_in_its_batch(
    lstm: TorchSession, utterances: list[Utterance]
):
    poisoned = len(utterances) // 2

    class Poisoned(TorchSession):
        def encode(self, features: Any, lengths: Any) -> Any:
            encoder_out, frames = super().encode(features, lengths)
            encoder_out = encoder_out.copy()
            encoder_out[poisoned] = np.nan
            return encoder_out, frames

    decoded = decode_offline(Poisoned(lstm.model), SYMBOLS, utterances, [GREEDY])["greedy_search"]
    by_length = sorted(utterances, key=lambda one: one.duration, reverse=True)
    assert [one.name for one in decoded.failures] == [by_length[poisoned].name]
    assert "NaN" in decoded.failures[0].reason
    healthy = decode_offline(lstm, SYMBOLS, utterances, [GREEDY])["greedy_search"].utterances
    assert decoded.utterances == [o for o in healthy if o.name != by_length[poisoned].name]


def test_progress_counts_every_utterance(lstm: TorchSession, utterances: list[Utterance]):
    @dataclass
    class Counter:
        done: int = 0

        def start(self, title: str, total: int | None = None) -> None: ...

        def advance(self, amount: int = 1, note: str = "") -> None:
            self.done += amount

        def finish(self) -> None: ...

    progress = Counter()
    some = [*utterances, noise(60, 8000, text=None)]
    decode_offline(lstm, SYMBOLS, some, [GREEDY], max_duration=5, progress=progress)
    assert progress.done == len(some)


def test_the_real_client_hears_what_the_bundles_runtime_hears(golden_bundle: Bundle):
    samples = np.random.default_rng(1).normal(scale=0.1, size=(3, 16000)).astype(np.float32)
    rounded = np.round(samples * 32768).clip(-32768, 32767).astype(np.float32) / 32768
    utterances = [
        Utterance.of_audio(str(i), Audio(one, 16000, 1.0), "") for i, one in enumerate(rounded)
    ]
    client = registry().exporters.get("ncnn").clients[0]
    recognizer = OnlineRecognizer.from_bundle(golden_bundle)
    ours = [recognizer.transcribe_audio(one.audio(16000)).text for one in utterances]
    unsaid = noise(3, 16000, text=None)
    decoded = transcribe_with_client(
        client, golden_bundle, [utterances[0], unsaid, *utterances[1:]]
    )
    assert [one.hypothesis for one in decoded.utterances] == ours
    assert [one.name for one in decoded.failures] == ["noise-03"]


@pytest.mark.parametrize("simulate_streaming", [False, True])
def test_features_are_those_that_the_networks_were_trained_on(
    lstm: TorchSession, utterances: list[Utterance], tmp_path: Path, simulate_streaming: bool
):
    trained_on = FeatureConfig(sample_rate=8000, high_freq=-200.0)
    asked = []
    utterance = replace(
        utterances[0],
        read_audio=lambda rate: asked.append(rate) or utterances[0].audio(SAMPLE_RATE),
    )
    options: dict[str, Any] = {"features": trained_on, "simulate_streaming": simulate_streaming}
    found = decode_offline(lstm, SYMBOLS, [utterance], [GREEDY], **options)["greedy_search"]
    default = decode_offline(
        lstm, SYMBOLS, [utterances[0]], [GREEDY], simulate_streaming=simulate_streaming
    )
    assert asked == [8000]
    assert found.utterances != default["greedy_search"].utterances
    path = tmp_path / "a.wav"
    soundfile.write(path, utterance.audio(8000).samples, 8000, subtype="FLOAT")
    transcript = OfflineRecognizer(lstm, SYMBOLS, GREEDY, **options).transcribe(path)
    assert transcript.text == found.utterances[0].hypothesis
    assert transcript.notes == ()


def test_a_bundle_for_whole_utterances_says_what_features_it_was_trained_on(
    offline_bundle: Bundle,
):
    trained_on = replace(offline_bundle.manifest.features, low_freq=200.0)
    manifest = replace(offline_bundle.manifest, features=trained_on)
    bundle = Bundle(offline_bundle.path, manifest)
    assert OfflineRecognizer.from_bundle(bundle).features == trained_on


def test_stored_features_are_used_only_where_they_are_what_is_asked_for():
    stored = np.zeros((7, 80), dtype=np.float32)
    utterance = replace(noise(0, 8000), read_features=lambda dimension: stored)
    assert utterance.features(FeatureConfig()) is stored
    other = utterance.features(FeatureConfig(low_freq=200.0))
    assert other.shape == (50, 80)
    assert np.ptp(other) > 1
