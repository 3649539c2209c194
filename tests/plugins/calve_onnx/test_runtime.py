from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calve.api import BundleError, Conventions, PluginError
from calve.bundles.bundle import Bundle
from calve.models.loading import load_model
from calve.protocols import Session
from calve_onnx.layout import find_network
from calve_onnx.runtime import OnnxRuntime, OnnxSession
from calve_transducer.runtime import TorchRuntime

CHUNKS = 20


@pytest.fixture(scope="module")
def session(onnx_bundle: Callable[[str], Bundle]) -> OnnxSession:
    return OnnxRuntime.open(onnx_bundle("fp32"))


@pytest.fixture(scope="module")
def torch_session(golden_checkpoint: Path) -> Session:
    model = load_model("lstm_transducer_stateless2", golden_checkpoint)
    return TorchRuntime.open(model, conventions=Conventions(projected=True, initial_symbol=-1))


def features(chunks: int, frames: int, streams: int = 1) -> np.ndarray:
    rng = np.random.default_rng(chunks * frames + streams)
    return rng.normal(-5, 3, (chunks, streams, frames, 80)).astype(np.float32)


@pytest.mark.parametrize("frames", [9, 25, 101])
@pytest.mark.parametrize("streams", [1, 3])
def test_chained_chunks_of_any_length_and_batch_agree_with_torch(
    session: OnnxSession, torch_session: Session, frames: int, streams: int
) -> None:
    ours, theirs = session.init_states(streams), torch_session.init_states(streams)
    assert list(ours) == list(theirs)
    for segment in features(CHUNKS, frames, streams):
        y, ours = session.encode_chunk(segment, ours)
        expected, theirs = torch_session.encode_chunk(segment, theirs)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)
        for name, state in ours.items():
            np.testing.assert_allclose(state, theirs[name], rtol=0, atol=1e-4)


def test_decoder_and_joiner_agree_with_torch_no_symbol_included(
    session: OnnxSession, torch_session: Session
) -> None:
    rng = np.random.default_rng(1)
    contexts = rng.integers(-1, session.vocab_size, (50, session.context_size))
    assert (contexts == -1).any()
    decoder_out = session.decode_context(contexts)
    np.testing.assert_allclose(
        decoder_out, torch_session.decode_context(contexts), rtol=0, atol=1e-5
    )
    encoder_out = rng.normal(0, 1, (50, 32)).astype(np.float32)
    np.testing.assert_allclose(
        session.join(encoder_out, decoder_out),
        torch_session.join(encoder_out, decoder_out),
        rtol=0,
        atol=1e-5,
    )


def test_no_symbol_is_not_the_blank(session: OnnxSession) -> None:
    nothing, blank = session.decode_context(np.array([[-1, 0], [0, 0]]))
    assert np.abs(nothing - blank).max() > 1e-3


def test_features_of_another_width_are_an_error_naming_the_file(session: OnnxSession) -> None:
    with pytest.raises(BundleError, match="cannot run the network") as caught:
        session.encode_chunk(np.zeros((1, 9, 40), np.float32), session.init_states())
    assert str(caught.value.where).endswith("encoder.onnx")


def test_a_truncated_network_is_an_error_naming_the_file(
    broken_dir: Path, onnx_bundle: Callable[[str], Bundle]
) -> None:
    path = find_network(broken_dir, "joiner")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match="cannot load the network") as caught:
        OnnxRuntime.open(Bundle(broken_dir, onnx_bundle("fp32").manifest))
    assert caught.value.where == str(path)


def test_a_manifest_without_states_is_an_error(onnx_bundle: Callable[[str], Bundle]) -> None:
    bundle = onnx_bundle("fp32")
    with pytest.raises(BundleError, match="does not say what states"):
        OnnxRuntime.open(Bundle(bundle.path, replace(bundle.manifest, steps={})))


def test_without_onnx_runtime_the_error_says_what_to_install(
    onnx_bundle: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PluginError, match="onnxruntime is not installed") as caught:
        OnnxRuntime.open(onnx_bundle("fp32"))
    assert caught.value.fix == "pip install 'calve[onnx]'"


@pytest.mark.parametrize("module", ["calve_onnx.network", "calve_onnx.precision"])
def test_onnx_runtime_reports_nothing_to_its_makers(module: str, tmp_path: Path) -> None:
    """Since 1.29 it prepares to do so when it is imported, and writes an identifier."""
    script = f"import {module}, onnxruntime"
    environment = {name: value for name, value in os.environ.items() if name[:4] != "ORT_"}
    environment["TMPDIR"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
