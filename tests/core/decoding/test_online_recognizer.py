"""From samples to text, on the torch runtime."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import SAMPLE_RATE, SYMBOLS, small_lstm

from calve.data.audio import Audio, read_audio
from calve.data.features import FeatureConfig, compute_fbank
from calve.data.geometry import StreamingGeometry, tail_padding
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.offline_recognizer import OfflineRecognizer
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.errors import AudioError, ConfigError, PluginError
from calve_transducer.runtime import TorchRuntime, TorchSession
from calve_transducer.searches.greedy import GreedySearch


@pytest.fixture(scope="module")
def session() -> TorchSession:
    """A small random model whose joiner is sharpened until it speaks."""
    model = small_lstm()
    with torch.no_grad():
        for parameter in model.joiner.parameters():
            parameter.mul_(1.5)
    return TorchRuntime.open(model)


@pytest.fixture(scope="module")
def recognizer(session: TorchSession) -> OnlineRecognizer:
    return OnlineRecognizer(session, SYMBOLS)


def sweep(seconds: float) -> np.ndarray:
    """A rising tone in noise: something new in every frame."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(0).normal(scale=0.01, size=len(time))
    return (0.3 * np.sin(2 * np.pi * (200 + 900 * time) * time) + noise).astype(np.float32)


def audio(seconds: float) -> Audio:
    samples = sweep(seconds)
    return Audio(samples, SAMPLE_RATE, len(samples) / SAMPLE_RATE)


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, 24000), max_size=12).map(sorted))
def test_the_result_does_not_depend_on_how_the_audio_is_cut(
    recognizer: OnlineRecognizer, cuts: list[int]
):
    samples = sweep(1.5)
    whole = recognizer.stream()
    whole.accept(samples)
    pieces = recognizer.stream()
    for piece in np.split(samples, cuts):
        pieces.accept(piece)
    assert pieces.finish() == whole.finish()
    assert len(whole.result().tokens) > 5


@pytest.mark.parametrize("chunk_ms", [80, 320, 640, 2000])
@pytest.mark.parametrize("seconds", [0.005, 0.3, 1.0, 1.537])
def test_the_result_does_not_depend_on_the_chunk_length_of_an_exact_encoder(
    session: TorchSession, recognizer: OnlineRecognizer, chunk_ms: int, seconds: float
):
    longer = OnlineRecognizer(session, SYMBOLS, chunk_ms=chunk_ms)
    expected = recognizer.transcribe_audio(audio(seconds))
    assert longer.transcribe_audio(audio(seconds)).tokens == expected.tokens
    assert longer.transcribe_audio(audio(seconds)).timestamps == expected.timestamps


def test_it_is_the_search_on_the_encoder_over_the_padded_recording(
    session: TorchSession, recognizer: OnlineRecognizer
):
    samples = sweep(1.23)
    silence = np.zeros(tail_padding(session.geometry) * 160, dtype=np.float32)
    features = compute_fbank(np.concatenate([samples, silence]))
    lengths = np.array([len(features)])
    encoder_out, output_lengths = session.encode(features[None], lengths)
    search = GreedySearch(session, symbols=SYMBOLS)
    stream = search.start()
    search.advance([stream], [encoder_out[0, : output_lengths[0]]])
    expected = search.result(stream)
    found = recognizer.transcribe_audio(Audio(samples, SAMPLE_RATE, 1.23))
    assert found.tokens == tuple(SYMBOLS[token] for token in expected.tokens)
    assert found.timestamps == pytest.approx([frame * 0.04 for frame in expected.timestamps])
    assert found.text == SYMBOLS.text(expected.tokens)


def test_a_network_of_fixed_length_gives_the_same_and_is_only_fed_whole_segments(
    session: TorchSession, monkeypatch: pytest.MonkeyPatch
):
    free = OnlineRecognizer(session, SYMBOLS, chunk_ms=320).transcribe_audio(audio(1.0))
    fixed = replace(session.geometry.with_chunk_ms(320), dynamic=False)
    lengths = []

    class FixedLength(TorchSession):
        def encode_chunk(self, features: Any, states: Any) -> Any:
            lengths.append(features.shape[1])
            return super().encode_chunk(features, states)

    strict = FixedLength(session.model)
    strict.geometry = fixed
    tail = tail_padding(session.geometry)
    found = OnlineRecognizer(strict, SYMBOLS, tail_padding_frames=tail).transcribe_audio(audio(1.0))
    assert set(lengths) == {fixed.segment}
    assert (found.tokens, found.timestamps) == (free.tokens, free.timestamps)
    assert len(found.tokens) > 3


def test_partial_results_only_ever_grow(recognizer: OnlineRecognizer):
    stream = recognizer.stream()
    before = stream.result()
    assert before.text == ""
    for piece in np.array_split(sweep(1.5), 10):
        stream.accept(piece)
        after = stream.result()
        assert after.tokens[: len(before.tokens)] == before.tokens
        before = after
    final = stream.finish()
    assert final.tokens[: len(before.tokens)] == before.tokens
    assert len(final.tokens) > len(before.tokens)


@pytest.mark.parametrize("samples", [1, 79, 81, 400, 1439])
def test_audio_shorter_than_a_segment_is_transcribed(recognizer: OnlineRecognizer, samples: int):
    stream = recognizer.stream()
    stream.accept(sweep(1.0)[:samples])
    assert stream.result().tokens == ()
    assert stream.finish().tokens


def test_no_audio_gives_no_text(recognizer: OnlineRecognizer):
    stream = recognizer.stream()
    stream.accept(np.empty(0, dtype=np.float32))
    assert stream.finish().text == ""
    assert recognizer.transcribe_audio(Audio(np.empty(0, np.float32), SAMPLE_RATE, 0.0)).rtf == 0


def test_a_finished_stream_takes_no_audio_and_keeps_its_result(recognizer: OnlineRecognizer):
    stream = recognizer.stream()
    stream.accept(sweep(0.5))
    final = stream.finish()
    assert stream.finish() == final
    with pytest.raises(AudioError):
        stream.accept(sweep(0.5))


def test_a_file_gives_what_its_samples_give(tmp_path: Path, recognizer: OnlineRecognizer):
    path = tmp_path / "a.wav"
    soundfile.write(path, sweep(1.0), SAMPLE_RATE, subtype="FLOAT")
    found = recognizer.transcribe(path)
    assert found.path == str(path)
    assert found.tokens == recognizer.transcribe_audio(audio(1.0)).tokens
    assert found.duration == 1.0
    assert 0 < found.rtf < 100
    assert found.to_json()["words"] == found.text.split()


def test_timestamps_lie_within_the_recording_and_its_tail(recognizer: OnlineRecognizer):
    found = recognizer.transcribe_audio(audio(1.0))
    assert list(found.timestamps) == sorted(found.timestamps)
    assert 0 <= found.timestamps[0] < found.timestamps[-1] <= 1.0 + 0.4


@pytest.mark.parametrize("chunk_ms", [0, -40, 30, 41])
def test_a_chunk_that_the_encoder_cannot_step_is_refused(session: TorchSession, chunk_ms: int):
    with pytest.raises(ConfigError, match="40 ms"):
        OnlineRecognizer(session, SYMBOLS, chunk_ms=chunk_ms)


def test_a_search_that_nobody_provides_is_refused(session: TorchSession):
    with pytest.raises(PluginError, match="gready_search"):
        OnlineRecognizer(session, SYMBOLS, DecodingMethod("gready_search"))


@pytest.mark.parametrize(
    ("shift", "overlap", "frames"), [(4, 5, 40), (64, 5, 64), (32, 19, 64), (4, 0, 36)]
)
def test_the_tail_is_whole_steps_beyond_the_overlap(shift: int, overlap: int, frames: int):
    assert tail_padding(StreamingGeometry(shift, overlap, 4)) == frames


def test_features_of_the_bundle_are_used(session: TorchSession):
    quiet = OnlineRecognizer(session, SYMBOLS, features=FeatureConfig(low_freq=300.0))
    assert (
        quiet.transcribe_audio(audio(1.0)).tokens
        != OnlineRecognizer(session, SYMBOLS).transcribe_audio(audio(1.0)).tokens
    )


def test_a_recording_of_another_rate_gives_what_it_gives_as_a_whole(
    tmp_path: Path, recognizer: OnlineRecognizer
):
    path = tmp_path / "a.flac"
    samples = np.random.default_rng(0).normal(scale=0.1, size=(5 * 44100, 2))
    soundfile.write(path, samples, 44100)
    blockwise, whole = recognizer.transcribe(path), recognizer.transcribe_audio(read_audio(path))
    assert len(blockwise.tokens) > 20
    assert blockwise.tokens == whole.tokens
    assert blockwise.timestamps == whole.timestamps
    assert (blockwise.duration, blockwise.notes) == (whole.duration, whole.notes)


def test_the_text_is_spelled_once_however_long_the_stream_is(
    session: TorchSession, monkeypatch: pytest.MonkeyPatch
):
    """Asking the search at every step makes the cost of a step grow with the stream."""
    asked = []
    original = GreedySearch.result
    monkeypatch.setattr(GreedySearch, "result", lambda *args: asked.append(args) or original(*args))
    stream = OnlineRecognizer(session, SYMBOLS).stream()
    for piece in np.array_split(sweep(3.0), 30):
        stream.accept(piece)
    assert stream.finish().tokens
    assert len(asked) == 1


@pytest.mark.parametrize("recognizer_class", [OnlineRecognizer, OfflineRecognizer])
def test_the_rtf_does_not_count_the_first_use_of_a_model(
    session: TorchSession,
    recognizer_class: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    passed, real = [0.0], time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: real() + passed[0])

    class SlowAtFirst(TorchSession):
        """Its first use takes an hour longer, as if it compiled something."""

        def join(self, encoder_out: Any, decoder_out: Any) -> Any:
            passed[0] = 3600.0
            return super().join(encoder_out, decoder_out)

    path = tmp_path / "a.wav"
    soundfile.write(path, sweep(0.5), SAMPLE_RATE)
    found = recognizer_class(SlowAtFirst(session.model), SYMBOLS).transcribe(path)
    assert passed == [3600.0]
    assert found.rtf * found.duration < 1800
    assert found.text == recognizer_class(session, SYMBOLS).transcribe(path).text


_LONG_STREAM = """
import time, sys
import numpy as np
from small_models import SYMBOLS, small_lstm
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.online_recognizer import OnlineRecognizer
from calve_transducer.runtime import TorchRuntime

model = small_lstm()
for parameter in model.joiner.parameters():
    parameter.requires_grad_(False).mul_(1.5)
recognizer = OnlineRecognizer(TorchRuntime.open(model), SYMBOLS, DecodingMethod(sys.argv[1]))
recognizer.warm_up()
stream = recognizer.stream()
piece = np.random.default_rng(0).normal(scale=0.1, size=5120).astype(np.float32)
seconds = []
for _ in range(60):
    started = time.process_time()
    for _ in range(10):
        stream.accept(piece)
    seconds.append(time.process_time() - started)
assert len(stream.finish().tokens) > 500
early, late = min(seconds[:10]), min(seconds[-10:])
assert late < 2 * early, f"10 pieces took {early:.3f} s at first, {late:.3f} s in the end"
"""


@pytest.mark.parametrize("method", ["greedy_search", "modified_beam_search"])
def test_a_piece_of_a_long_stream_costs_what_the_first_pieces_cost(method: str):
    """In processor time, the best of ten each, in a process of its own."""
    support = Path(__file__).parents[2] / "support"
    subprocess.run(
        [sys.executable, "-c", _LONG_STREAM, method],
        env={**os.environ, "PYTHONPATH": str(support), "OMP_NUM_THREADS": "1"},
        check=True,
    )
