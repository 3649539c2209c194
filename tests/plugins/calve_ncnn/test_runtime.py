from __future__ import annotations

import gc
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calve.api import BundleError, Conventions
from calve.bundles.bundle import Bundle
from calve.models.loading import load_model
from calve.protocols import Session
from calve_ncnn.layout import bin_path, param_path
from calve_ncnn.runtime import NcnnRuntime, NcnnSession
from calve_transducer.runtime import TorchRuntime

CHUNKS = 20


@pytest.fixture(scope="module")
def session(golden_bundle: Bundle) -> NcnnSession:
    return NcnnRuntime.open(golden_bundle)


@pytest.fixture(scope="module")
def torch_session(golden_checkpoint: Path) -> Session:
    model = load_model("lstm_transducer_stateless2", golden_checkpoint)
    return TorchRuntime.open(model, conventions=Conventions())


def features(chunks: int, frames: int, streams: int = 1) -> np.ndarray:
    rng = np.random.default_rng(chunks * frames + streams)
    return rng.normal(-5, 3, (chunks, streams, frames, 80)).astype(np.float32)


@pytest.mark.parametrize("frames", [9, 25, 39, 69, 101])
def test_chained_chunks_of_any_length_agree_with_torch(
    session: NcnnSession, torch_session: Session, frames: int
) -> None:
    ours, theirs = session.init_states(), torch_session.init_states()
    for segment in features(CHUNKS, frames):
        y, ours = session.encode_chunk(segment, ours)
        expected, theirs = torch_session.encode_chunk(segment, theirs)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)
        for name, state in ours.items():
            np.testing.assert_allclose(state.ravel(), np.ravel(theirs[name]), rtol=0, atol=1e-4)


def test_decoder_and_joiner_agree_with_torch(session: NcnnSession, torch_session: Session) -> None:
    rng = np.random.default_rng(1)
    contexts = rng.integers(0, session.vocab_size, (50, session.context_size))
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


def test_streams_of_a_batch_are_independent(session: NcnnSession) -> None:
    first, second = features(2, 9, streams=3)
    states = session.init_states(3)
    _, states = session.encode_chunk(first, states)
    together, _ = session.encode_chunk(second, states)
    for row in range(3):
        alone = session.init_states()
        _, alone = session.encode_chunk(first[row : row + 1], alone)
        y, _ = session.encode_chunk(second[row : row + 1], alone)
        np.testing.assert_array_equal(y[0], together[row])


def test_strided_and_short_lived_arrays_are_read_right(session: NcnnSession) -> None:
    """ncnn borrows numpy's memory and reads it as contiguous."""
    block = features(1, 9)[0]
    expected, _ = session.encode_chunk(block, session.init_states())
    transposed = np.asfortranarray(block)
    assert not transposed.flags.c_contiguous
    strided = np.repeat(block, 2, axis=2)[:, :, ::2]
    for variant in (transposed, strided):
        for _ in range(50):
            y, _ = session.encode_chunk(variant, session.init_states())
            gc.collect(0)
            np.testing.assert_array_equal(y, expected)


def test_results_do_not_change_when_the_session_runs_on(session: NcnnSession) -> None:
    first, second = features(2, 9)
    y, states = session.encode_chunk(first, session.init_states())
    kept = y.copy(), {name: state.copy() for name, state in states.items()}
    for _ in range(20):
        session.encode_chunk(second, states)
    np.testing.assert_array_equal(y, kept[0])
    for name, state in states.items():
        np.testing.assert_array_equal(state, kept[1][name])


def test_no_symbol_is_taken_as_the_blank(session: NcnnSession) -> None:
    np.testing.assert_array_equal(
        session.decode_context(np.array([[-1, 5]])), session.decode_context(np.array([[0, 5]]))
    )


def test_a_bundle_without_metadata_runs_too(bundle_dir: Path, golden_bundle: Bundle) -> None:
    path = param_path(bundle_dir, "encoder")
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = "86 116\n"
    assert lines.pop(2).startswith("SherpaMetaData")
    path.write_text("".join(lines))
    block = features(1, 9)[0]
    results = [
        one.encode_chunk(block, one.init_states())[0]
        for one in (
            NcnnRuntime.open(Bundle(bundle_dir, golden_bundle.manifest)),
            NcnnRuntime.open(golden_bundle),
        )
    ]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("states", [None, {"hidden": None}, {"hidden": ["3"]}, {"hidden": 3}])
def test_a_manifest_that_does_not_tell_the_states_is_an_error(
    golden_bundle: Bundle, states: object
) -> None:
    manifest = replace(golden_bundle.manifest, steps={"states": states})
    with pytest.raises(BundleError, match="what states the encoder has"):
        NcnnRuntime.open(Bundle(golden_bundle.path, manifest))


def test_truncated_weights_are_an_error_naming_the_file(
    bundle_dir: Path, golden_bundle: Bundle
) -> None:
    path = bin_path(bundle_dir, "joiner")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError) as caught:
        NcnnRuntime.open(Bundle(bundle_dir, golden_bundle.manifest))
    assert caught.value.where == str(path)


def test_networks_that_changed_places_are_an_error(bundle_dir: Path, golden_bundle: Bundle) -> None:
    for source in (param_path, bin_path):
        shutil.copy(source(bundle_dir, "decoder"), source(bundle_dir, "joiner"))
    with pytest.raises(BundleError, match="joiner has no blob 'in1'"):
        NcnnRuntime.open(Bundle(bundle_dir, golden_bundle.manifest))


def test_an_operator_that_ncnn_lacks_is_an_error(bundle_dir: Path, golden_bundle: Bundle) -> None:
    path = param_path(bundle_dir, "joiner")
    path.write_text(path.read_text().replace("TanH ", "Tanhh", 1))
    with pytest.raises(BundleError, match="Tanhh") as caught:
        NcnnRuntime.open(Bundle(bundle_dir, golden_bundle.manifest))
    assert caught.value.fix


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ({"hidden": [10**9], "cell": [3, 48]}, "do not fit into memory"),
        ({"hidden": [3, 31], "cell": [3, 48]}, r"its layers need \[\(3, 32\), \(3, 48\)\]"),
        ({"cell": [3, 48], "hidden": [3, 32]}, "its layers need"),
        ({"hidden": [3, 0], "cell": [3, 48]}, "what states the encoder has"),
    ],
)
def test_states_that_the_network_does_not_have_are_refused_before_it_runs(
    golden_bundle: Bundle, states: object, said: str
) -> None:
    manifest = replace(golden_bundle.manifest, steps={"states": states})
    with pytest.raises(BundleError, match=said):
        NcnnRuntime.open(Bundle(golden_bundle.path, manifest))
