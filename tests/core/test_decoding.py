"""Decoding many utterances at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from calve.audio import Audio
from calve.bundle import FLUSH_FRAMES, Bundle
from calve.decoding import (
    Utterance,
    decode_chunks,
    decode_utterances,
    read_utterances,
    transcribe_with_client,
)
from calve.errors import DataError, PluginError
from calve.features import FeatureConfig, compute_fbank
from calve.registry import registry
from calve.tokens import SymbolTable
from calve.transcription import Recognizer
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_transducer.config import TransducerConfig
from calve_transducer.model import Transducer
from calve_transducer.runtime import TorchRuntime, TorchSession
from calve_transducer.searches.greedy import GreedySearch

SYMBOLS = SymbolTable(("<blk>", "<sos/eos>", "<unk>", *(f"▁w{i}" for i in range(17))))
SAMPLE_RATE = 16000


@pytest.fixture(scope="module")
def session() -> TorchSession:
    torch.manual_seed(7)
    encoder = LstmEncoder(LstmEncoderConfig(2, encoder_dim=32, rnn_hidden_size=48))
    config = TransducerConfig(len(SYMBOLS), decoder_dim=32, joiner_dim=32)
    return TorchRuntime.open(Transducer(encoder, config).eval())


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    """More than one batch, of very different lengths, some shorter than a segment."""
    random = np.random.default_rng(0)
    found = []
    for number in range(40):
        samples = random.normal(scale=0.1, size=random.integers(200, 24000)).astype(np.float32)
        audio = Audio(samples, SAMPLE_RATE, len(samples) / SAMPLE_RATE)
        found.append(Utterance(f"noise-{number}", audio, ""))
    return found


@pytest.mark.parametrize("chunk_ms", [40, 200, 640])
def test_chunks_side_by_side_give_what_one_stream_gives(
    session: TorchSession, utterances: list[Utterance], chunk_ms: int
):
    geometry = session.geometry.with_chunk_ms(chunk_ms)
    texts = decode_chunks(session, SYMBOLS, utterances, FeatureConfig(), geometry)
    recognizer = Recognizer(session, SYMBOLS, chunk_ms=chunk_ms)
    assert texts == [recognizer.transcribe_audio(one.audio).text for one in utterances]
    assert len(set(texts)) > 20


def test_whole_utterances_give_what_each_alone_gives(
    session: TorchSession, utterances: list[Utterance]
):
    texts = decode_utterances(session, SYMBOLS, utterances, FeatureConfig())
    for utterance, text in zip(utterances, texts, strict=True):
        features = compute_fbank(utterance.audio.samples)
        padding = np.full((FLUSH_FRAMES, 80), np.log(1e-10), dtype=np.float32)
        padded = np.concatenate([features, padding])
        encoder_out, lengths = session.encode(padded[None], np.array([len(padded)]))
        search = GreedySearch(session, symbols=SYMBOLS, initial_symbol=-1)
        stream = search.start()
        search.advance([stream], [encoder_out[0, : lengths[0]]])
        assert text == SYMBOLS.text(search.result(stream).tokens)


def test_the_real_client_hears_what_the_bundles_runtime_hears(golden_bundle: Bundle):
    samples = np.random.default_rng(1).normal(scale=0.1, size=(3, 16000)).astype(np.float32)
    rounded = np.round(samples * 32768).clip(-32768, 32767).astype(np.float32) / 32768
    utterances = [Utterance(str(i), Audio(one, 16000, 1.0), "") for i, one in enumerate(rounded)]
    client = registry().exporters.get("ncnn").clients[0]
    recognizer = Recognizer.from_bundle(golden_bundle)
    ours = [recognizer.transcribe_audio(one.audio).text for one in utterances]
    assert transcribe_with_client(client, golden_bundle, utterances) == ours


def test_an_unknown_split_is_an_error_that_lists_the_splits(tmp_path: Path):
    with pytest.raises(DataError, match="heldout"):
        read_utterances("fsdd", tmp_path, "exam")


def test_an_unknown_corpus_is_an_error(tmp_path: Path):
    with pytest.raises(PluginError, match="fsdd"):
        read_utterances("fsddd", tmp_path, "test")
