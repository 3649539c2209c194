"""From a bundle or a checkpoint to a recognizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import calve
from calve.bundles.bundle import Bundle
from calve.decoding.bundle_model import BundleModel
from calve.decoding.checkpoint_model import CheckpointModel
from calve.decoding.offline_recognizer import OfflineRecognizer
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.decoding.recognizers import load_recognizer, transcribe_each
from calve.errors import AudioError, ConfigError
from calve.models.checkpoints import CheckpointChoice


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(0).normal(scale=0.1, size=32000), 16000)
    return path


@pytest.fixture
def checkpoint(golden_checkpoint: Path, golden_tokens: Path) -> CheckpointModel:
    choice = CheckpointChoice(checkpoint=str(golden_checkpoint))
    return CheckpointModel.read(choice, recipe="lstm_transducer_stateless2", tokens=golden_tokens)


def test_a_bundle_and_its_checkpoint_say_the_same(
    golden_bundle: Bundle, checkpoint: CheckpointModel, recording: Path
):
    of_bundle = load_recognizer(BundleModel(golden_bundle.path))
    of_checkpoint = load_recognizer(checkpoint)
    assert isinstance(of_bundle.recognizer, OnlineRecognizer)
    assert isinstance(of_checkpoint.recognizer, OnlineRecognizer)
    expected = of_bundle.recognizer.transcribe(recording)
    assert of_checkpoint.recognizer.transcribe(recording).tokens == expected.tokens
    assert expected.tokens


@pytest.mark.usefixtures("bundled_plugins")
def test_a_checkpoint_recognizes_in_every_mode(checkpoint: CheckpointModel, recording: Path):
    streaming = load_recognizer(checkpoint, mode="streaming", chunk_ms=320).recognizer
    simulated = load_recognizer(checkpoint, mode="simulated streaming", chunk_size=8).recognizer
    offline = load_recognizer(checkpoint, mode="offline").recognizer
    assert isinstance(simulated, OfflineRecognizer)
    assert isinstance(offline, OfflineRecognizer)
    assert simulated.transcribe(recording).tokens == streaming.transcribe(recording).tokens
    assert offline.transcribe(recording).tokens


@pytest.mark.usefixtures("bundled_plugins")
def test_an_encoder_that_cannot_stream_sees_whole_utterances_with_a_note(
    offline_checkpoint: Path, golden_tokens: Path
):
    choice = CheckpointChoice(checkpoint=str(offline_checkpoint))
    recipe = "pruned_transducer_stateless5"
    model = CheckpointModel.read(choice, recipe=recipe, tokens=golden_tokens)
    loaded = load_recognizer(model)
    assert isinstance(loaded.recognizer, OfflineRecognizer)
    assert "whole utterances, not streaming" in loaded.notes[0]
    with pytest.raises(ConfigError):
        load_recognizer(model, mode="streaming")


def test_a_bundle_is_what_it_was_exported_as(golden_bundle: Bundle, offline_bundle: Bundle):
    with pytest.raises(ConfigError, match="what it was exported as"):
        load_recognizer(BundleModel(golden_bundle.path), mode="offline")
    with pytest.raises(ConfigError, match="no chunks"):
        load_recognizer(BundleModel(offline_bundle.path), chunk_ms=320)
    with pytest.raises(ConfigError, match="exclude one another"):
        load_recognizer(BundleModel(golden_bundle.path), chunk_ms=320, chunk_size=8)


def test_a_recording_that_fails_does_not_end_the_others(golden_bundle: Bundle, recording: Path):
    recognizer = load_recognizer(BundleModel(golden_bundle.path)).recognizer
    paths = [recording.with_name("missing.wav"), recording]
    error, transcript = transcribe_each(recognizer, paths)
    assert isinstance(error, AudioError)
    assert "missing.wav" in str(error.where)
    assert transcript.text == recognizer.transcribe(recording).text


def test_a_decoding_method_and_its_options_are_those_of_calve_search(
    golden_bundle: Bundle, recording: Path
):
    greedy, default = (
        next(calve.transcribe(golden_bundle, [recording], **chosen))
        for chosen in ({"decoding_method": "greedy_search"}, {})
    )
    assert greedy.tokens == default.tokens
    options = {"blank_penalty": -20.0}
    penalized = next(calve.transcribe(golden_bundle, [recording], decoding_options=options))
    assert len(penalized.tokens) < len(default.tokens)
    with pytest.raises(ConfigError, match="beam"):
        calve.transcribe(golden_bundle, [recording], decoding_options={"beam": 4})
