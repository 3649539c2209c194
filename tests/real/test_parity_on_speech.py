"""Torch and ncnn on real speech: chained chunks, carried states, the same symbols."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from calve.api import Conventions
from calve.bundles.bundle import Bundle
from calve.bundles.observation import observe
from calve.data.audio import read_audio
from calve.data.features import compute_fbank
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.exporting.export import export
from calve.exporting.parity import compare
from calve.models.loading import load_model
from calve_transducer.runtime import TorchRuntime

RECIPE = "lstm_transducer_stateless2"


@pytest.fixture(scope="module")
def checkpoint(
    goldens: Path, golden_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The golden model with the sharpened decoder and joiner, which say many different symbols."""
    weights = torch.load(golden_checkpoint, weights_only=True)["model"]
    sharpened = torch.load(goldens / f"{RECIPE}.decoding.pt", weights_only=True)["state_dict"]
    path = tmp_path_factory.mktemp("sharpened") / "pretrained.pt"
    torch.save({"model": weights | sharpened}, path)
    return path


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, golden_tokens: Path, tmp_path_factory: pytest.TempPathFactory):
    output = tmp_path_factory.mktemp("bundle") / "fp32"
    return export(RECIPE, checkpoint=checkpoint, tokens=golden_tokens, output=output, fp16=False)


@pytest.fixture(scope="module")
def speech(shared_data: Path) -> Path:
    return shared_data / "librispeech_sample" / "1088-134315-0000.wav"


@pytest.mark.parametrize("chunk_ms", [40, 640])
def test_every_output_agrees_over_sixteen_seconds(
    checkpoint: Path, bundle: Bundle, speech: Path, chunk_ms: int
):
    features = compute_fbank(read_audio(speech).samples)
    reference = TorchRuntime.open(load_model(RECIPE, checkpoint), conventions=Conventions())
    candidate = bundle.open_streaming_session()
    geometry = candidate.geometry.with_chunk_ms(chunk_ms)
    observations = [observe(session, features, geometry) for session in (reference, candidate)]
    report = compare(*observations, precision="fp32")
    report.check()
    assert report.max_abs_error <= 1e-4
    assert observations[0].chunks >= 20
    assert len(report.tokens) > 20
    assert len(set(report.tokens)) >= 5


def test_torch_and_ncnn_transcribe_alike(
    checkpoint: Path, bundle: Bundle, speech: Path, shared_data: Path
):
    torch_session = TorchRuntime.open(load_model(RECIPE, checkpoint))
    in_torch = OnlineRecognizer(torch_session, bundle.symbols)
    in_ncnn = OnlineRecognizer.from_bundle(bundle)
    digits = sorted((shared_data / "fsdd" / "recordings").glob("*_theo_1.wav"))
    assert len(digits) == 10
    for path in (speech, *digits):
        expected, found = in_torch.transcribe(path), in_ncnn.transcribe(path)
        assert found.tokens == expected.tokens
        assert found.timestamps == expected.timestamps
