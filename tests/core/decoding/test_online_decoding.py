"""Many streams side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from small_models import SAMPLE_RATE, SYMBOLS, noise, small_conformer, small_lstm

from calve.bundles.bundle import Bundle
from calve.data.audio import Audio
from calve.data.utterances import Utterance
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.endpointing import EndpointRules
from calve.decoding.online_decoding import StreamDecoder, StreamSearch
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.decoding.streaming_run import StreamingRun
from calve.errors import ConfigError
from calve.protocols import Session
from calve_transducer.runtime import TorchRuntime, TorchSession

GREEDY = DecodingMethod("greedy_search")


@pytest.fixture(scope="module")
def lstm() -> TorchSession:
    return TorchRuntime.open(small_lstm())


@pytest.fixture(scope="module", params=["pruned_transducer_stateless", "2", "right context"])
def conformer(request: pytest.FixtureRequest) -> TorchSession:
    recipe = "pruned_transducer_stateless"
    if request.param == "right context":
        return TorchRuntime.open(small_conformer(recipe, right_context=2))
    return TorchRuntime.open(small_conformer(f"{recipe}2" if request.param == "2" else recipe))


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    """Of very different lengths, some shorter than a segment."""
    lengths = np.random.default_rng(0).integers(200, 24000, size=17).tolist()
    return [noise(number, samples) for number, samples in enumerate(lengths)]


def run(session: Session, utterances: list[Utterance], **options: Any) -> StreamingRun:
    variants = {"greedy_search": StreamSearch(GREEDY.search(session, SYMBOLS))}
    return StreamDecoder(session, SYMBOLS, variants, **options).decode(utterances)["greedy_search"]


def texts(found: StreamingRun) -> dict[str, str]:
    return {one.name: one.hypothesis for one in found.decoded.utterances}


@pytest.mark.parametrize(("num_streams", "chunk_ms"), [(1, 40), (5, 200), (40, 640)])
def test_packed_streams_give_what_one_stream_gives(
    lstm: TorchSession, utterances: list[Utterance], num_streams: int, chunk_ms: int
):
    geometry = lstm.geometry.with_chunk_ms(chunk_ms)
    found = run(lstm, utterances, num_streams=num_streams, geometry=geometry)
    recognizer = OnlineRecognizer(lstm, SYMBOLS, chunk_ms=chunk_ms)
    assert texts(found) == {
        one.name: recognizer.transcribe_audio(one.audio(SAMPLE_RATE)).text for one in utterances
    }
    assert len(set(texts(found).values())) > 10


def test_packed_streams_of_a_conformer_give_what_one_stream_gives(
    conformer: TorchSession, utterances: list[Utterance]
):
    found = run(conformer, utterances, num_streams=5)
    recognizer = OnlineRecognizer(conformer, SYMBOLS)
    for one in found.decoded.utterances:
        (utterance,) = (u for u in utterances if u.name == one.name)
        expected = recognizer.transcribe_audio(utterance.audio(SAMPLE_RATE))
        assert one.hypothesis == expected.text
        assert len(one.timestamps) == len(expected.text.split())
    assert len(found.decoded.utterances) == len(utterances)
    assert len(set(texts(found).values())) > 10


def test_packed_streams_of_a_bundle_give_what_one_stream_gives(
    golden_bundle: Bundle, utterances: list[Utterance]
):
    session, symbols = golden_bundle.open_streaming_session(), golden_bundle.symbols
    variants = {"greedy_search": StreamSearch(GREEDY.search(session, symbols))}
    decoder = StreamDecoder(session, symbols, variants, num_streams=4)
    found = decoder.decode(utterances[:6])["greedy_search"]
    recognizer = OnlineRecognizer.from_bundle(golden_bundle)
    assert texts(found) == {
        one.name: recognizer.transcribe_audio(one.audio(SAMPLE_RATE)).text for one in utterances[:6]
    }


def test_as_one_stream_ends_the_next_enters(lstm: TorchSession):
    steps = [1, 5, 2, 1, 3]
    shift, tail = lstm.geometry.shift, 1
    utterances = [
        noise(number, (steps_of_one - tail) * shift * 160 + lstm.geometry.overlap * 160)
        for number, steps_of_one in enumerate(steps)
    ]
    found = run(lstm, utterances, num_streams=2, tail_padding_frames=shift)
    # Stream by stream: 0 and 1, then 2 in the place of 0, then 3 and 4 as places come free.
    assert found.step_streams == [2, 2, 2, 2, 2, 1, 1]
    assert sum(found.step_streams) == sum(steps)
    assert len(found.step_seconds) == len(found.step_streams)


def test_speed_is_measured(lstm: TorchSession, utterances: list[Utterance]):
    found = run(lstm, utterances, num_streams=4)
    assert found.audio_seconds == pytest.approx(sum(one.duration for one in utterances))
    assert found.busy_seconds > sum(found.step_seconds)  # States come and go as well.
    assert found.throughput == found.audio_seconds / found.busy_seconds
    p50, p95, p99 = found.latency_ms(50, 95, 99)
    assert 0 < p50 <= p95 <= p99 <= 1000 * max(found.step_seconds)
    assert StreamingRun().throughput is None


def test_latency_counts_the_chunk_of_every_stream():
    found = StreamingRun(step_seconds=[0.001, 0.010], step_streams=[99, 1])
    assert found.latency_ms(50, 98) == [1.0, 1.0]
    assert found.latency_ms(100) == [10.0]


def test_bad_recordings_are_reported_and_do_not_stop_the_others(
    lstm: TorchSession, utterances: list[Utterance]
):
    bad = [noise(50, 0), noise(51, 8000, text=None)]
    nan = Audio(np.full(8000, np.nan, dtype=np.float32), SAMPLE_RATE, 0.5)
    bad.append(Utterance.of_audio("nan", nan, ""))
    mixed = [bad[0], *utterances[:4], bad[1], *utterances[4:], bad[2]]
    found = run(lstm, mixed, num_streams=3)
    assert texts(found) == texts(run(lstm, utterances))
    assert [one.name for one in found.decoded.failures] == ["noise-50", "noise-51", "nan"]


@pytest.fixture
def loud() -> Utterance:
    """A recording whose second half is so loud that features are above 10."""
    samples = noise(60, 16000).audio(SAMPLE_RATE).samples.copy()
    samples[8000:] *= 30
    return Utterance.of_audio("loud", Audio(samples, SAMPLE_RATE, 1.0), "")


class Fragile(TorchSession):
    """The encoder answers a loud stream with one number; by default it overflows, as in float16."""

    answer = np.inf

    def encode_chunk(self, features: Any, states: Any) -> Any:
        encoder_out, states = super().encode_chunk(features, states)
        encoder_out = encoder_out.copy()
        encoder_out[features.max(axis=(1, 2)) > 10] = self.answer
        return encoder_out, states


def test_a_stream_on_which_the_encoder_fails_leaves_and_the_others_go_on(
    lstm: TorchSession, utterances: list[Utterance], loud: Utterance
):
    found = run(Fragile(lstm.model), [*utterances[:5], loud, *utterances[5:]], num_streams=3)
    assert [one.name for one in found.decoded.failures] == ["loud"]
    assert texts(found) == texts(run(lstm, utterances))


def test_a_stream_on_which_a_search_fails_leaves_and_the_others_go_on(
    lstm: TorchSession, utterances: list[Utterance], loud: Utterance
):
    class FragileJoiner(Fragile):
        """The joiner answers a loud stream with NaN."""

        answer = 1e6

        def join(self, encoder_out: Any, decoder_out: Any) -> Any:
            logits = super().join(encoder_out, decoder_out).copy()
            logits[encoder_out[:, 0] == self.answer] = np.nan
            return logits

    session = FragileJoiner(lstm.model)
    methods = [GREEDY, DecodingMethod("modified_beam_search"), DecodingMethod("fast_beam_search")]
    variants = {one.key: StreamSearch(one.search(session, SYMBOLS)) for one in methods}
    decoder = StreamDecoder(session, SYMBOLS, variants, num_streams=3)
    found = decoder.decode([*utterances[:3], loud, *utterances[3:6]])
    alone = StreamDecoder(lstm, SYMBOLS, variants).decode(utterances[:6])
    for method in methods:
        (failure,) = found[method.key].decoded.failures
        assert (failure.name, "NaN" in failure.reason) == ("loud", True)
        assert texts(found[method.key]) == texts(alone[method.key])


def talk(session: TorchSession) -> TorchSession:
    """A session whose joiner says symbol 5 in frames of speech and blank in silence."""

    class Scripted(TorchSession):
        def encode_chunk(self, features: Any, states: Any) -> Any:
            encoder_out, states = super().encode_chunk(features, states)
            frames = features[:, : encoder_out.shape[1] * 4 : 4].mean(axis=2)
            return np.repeat(frames[..., None], encoder_out.shape[2], axis=2), states

        def join(self, encoder_out: Any, decoder_out: Any) -> Any:
            logits = np.zeros((len(encoder_out), self.vocab_size), dtype=np.float32)
            speech = encoder_out[:, 0] > -12
            logits[np.arange(len(logits)), np.where(speech, 5, 0)] = 9.0
            return logits

    return Scripted(session.model)


def test_endpoints_cut_a_stream_and_lose_nothing(lstm: TorchSession):
    speech = noise(0, 8000).audio(SAMPLE_RATE).samples
    silence = np.zeros(16000 * 2, dtype=np.float32)
    samples = np.concatenate([speech, silence, speech, silence[:8000], speech, silence, silence])
    utterance = Utterance.of_audio("talk", Audio(samples, SAMPLE_RATE, len(samples) / 16000), "")
    session = talk(lstm)
    rules = EndpointRules()
    search = GREEDY.search(session, SYMBOLS)
    variants = {"whole": StreamSearch(search), "cut": StreamSearch(search, rules)}
    runs = StreamDecoder(session, SYMBOLS, variants).decode([utterance])
    assert runs["whole"].endpoints == {}
    # After the first pause of 2 s (not that of 0.5 s), and twice in the last 4 s: once because
    # something was said, and once because nothing was for 2.4 s.
    assert runs["cut"].endpoints == {2: 2, 1: 1}
    (whole,), (cut,) = (runs[key].decoded.utterances for key in ("whole", "cut"))
    assert whole.hypothesis == cut.hypothesis
    assert whole.timestamps == pytest.approx(cut.timestamps)
    assert len(cut.timestamps) > 20


def test_an_utterance_goes_on_in_the_context_of_the_one_before(
    lstm: TorchSession, utterances: list[Utterance]
):
    """As in sherpa: a word that is not over at an endpoint is not found twice."""
    search = GREEDY.search(lstm, SYMBOLS)
    rules = EndpointRules(rule3_min_utterance_length=0.12)
    variants = {
        "whole": StreamSearch(search),
        "cut": StreamSearch(search, rules, GREEDY.stream_options),
        "anew": StreamSearch(search, rules),
    }
    runs = StreamDecoder(lstm, SYMBOLS, variants).decode(utterances)
    assert runs["cut"].endpoints[3] > 50
    assert runs["cut"].decoded == runs["whole"].decoded != runs["anew"].decoded


@pytest.mark.parametrize(
    ("length", "silence", "rule"),
    [
        (2.3, None, None),
        (2.4, None, 1),
        (5.0, 1.1, None),
        (5.0, 1.2, 2),
        (5.0, 2.4, 1),
        (19.9, 0.1, None),
        (20.0, 0.1, 3),
    ],
)
def test_the_three_rules(length: float, silence: float | None, rule: int | None):
    assert EndpointRules().rule(length, silence) == rule


def test_rules_that_would_always_hold_are_refused():
    with pytest.raises(ConfigError, match="rule2_min_trailing_silence"):
        replace(EndpointRules(), rule2_min_trailing_silence=0.0)
    with pytest.raises(ConfigError, match="rule1"):
        EndpointRules(rule1_min_trailing_silence=json.loads("NaN"))


@pytest.mark.parametrize(
    "method",
    ["greedy_search", "modified_beam_search", "beam_search", "fast_beam_search_nbest"],
)
def test_endpointing_spells_no_hypothesis_between_endpoints(
    lstm: TorchSession, utterances: list[Utterance], method: str
):
    search = DecodingMethod(method).search(lstm, SYMBOLS)
    asked = Mock(side_effect=search.result)
    search.result = asked
    streams = {"cut": StreamSearch(search, EndpointRules())}
    run = StreamDecoder(lstm, SYMBOLS, streams).decode(utterances)["cut"]
    assert len(run.step_seconds) > 100
    assert asked.call_count == run.endpoints.total() + len(utterances)
