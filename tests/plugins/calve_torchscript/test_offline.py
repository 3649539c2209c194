"""Bundles for whole utterances: of models that cannot stream, and of others if that is wanted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from changed_bundles import accept_changes
from torch.testing import assert_close

from calve.bundles.bundle import Bundle
from calve.bundles.golden import Golden
from calve.bundles.metadata import read_metadata
from calve.bundles.trial import open_session
from calve.data.tokens import SymbolTable
from calve.decoding.offline_recognizer import OfflineRecognizer
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.decoding.recognizers import transcribe
from calve.errors import BundleError, ConfigError, PluginError
from calve.exporting.export import export
from calve.exporting.quantization import quantize
from calve.exporting.verification import FAILED, PASSED, verify
from calve.models.checkpoints import CheckpointChoice
from calve.models.loading import load, load_model
from calve.protocols import Session
from calve_torchscript.layout import MODEL_FILE, WEIGHTS_FILE, save_module
from calve_torchscript.lint import lint
from calve_transducer.runtime import TorchRuntime

LSTM = "lstm_transducer_stateless2"
CONFORMERS = ("pruned_transducer_stateless", "pruned_transducer_stateless5")
"""One recipe of each generation of the conformer."""

FORMATS = ("state-dict", "jit-script")
OfflineBundle = Callable[[str, str], Bundle]


@pytest.fixture(scope="module")
def offline_checkpoint(
    goldens: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """``offline_checkpoint(recipe)``: a golden one; a conformer as if it saw future frames."""
    folder = tmp_path_factory.mktemp("offline")

    @cache
    def checkpoint(recipe: str) -> Path:
        trained = torch.load(goldens / f"{recipe}.ckpt.pt", weights_only=False)
        torch.save(trained | {"causal_convolution": False}, folder / f"{recipe}.pt")
        return folder / f"{recipe}.pt"

    return checkpoint


@pytest.fixture(scope="module")
def offline_bundle(
    offline_checkpoint: Callable[[str], Path],
    golden_tokens: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> OfflineBundle:
    """``offline_bundle(recipe, format)``: exported once; not to be written to."""

    @cache
    def bundle(recipe: str, format_name: str) -> Bundle:
        return export(
            recipe,
            checkpoint=offline_checkpoint(recipe),
            tokens=golden_tokens,
            output=tmp_path_factory.mktemp("bundle") / format_name,
            format=format_name,
            streaming=False if recipe == LSTM else None,
        )

    return bundle


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("recipe", [LSTM, *CONFORMERS])
def test_it_agrees_with_torch_in_whole_utterances(
    offline_bundle: OfflineBundle, recipe: str, format_name: str
) -> None:
    bundle = offline_bundle(recipe, format_name)
    assert not bundle.manifest.streaming
    assert bundle.manifest.tail_padding_frames == 0
    parity = bundle.manifest.parity
    assert {output["output"] for output in parity["outputs"]} == {
        *("encoder_out", "decoder_out", "logits")
    }
    assert {output["chunk_ms"] for output in parity["outputs"]} == {None}
    assert parity["max_abs_error"] <= 1e-4
    assert parity["tokens_equal"]
    checks = {check.name: check for check in verify(bundle.path)}
    assert {check.outcome for check in checks.values()} == {PASSED}
    assert "over 4 whole utterances" in checks["golden"].detail


def test_verify_finds_an_encoder_that_answers_otherwise(
    offline_bundle: OfflineBundle, tmp_path: Path
) -> None:
    bundle = offline_bundle(CONFORMERS[-1], "jit-script")
    folder = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    model: Any = torch.jit.load(folder / MODEL_FILE)
    with torch.no_grad():
        next(model.encoder.parameters()).mul_(1.01)
    save_module(model, folder / MODEL_FILE)
    accept_changes(folder)
    outcomes = {check.name: check.outcome for check in verify(folder)}
    assert (outcomes["files"], outcomes["golden"]) == (PASSED, FAILED)


@torch.no_grad()
@pytest.mark.parametrize("recipe", CONFORMERS)
def test_sherpas_calls_on_whole_utterances_give_what_icefall_gives(
    goldens: Path, golden_tokens: Path, tmp_path: Path, recipe: str
) -> None:
    """Of a model that could stream, since icefall's numbers are of such."""
    export(
        recipe,
        checkpoint=goldens / f"{recipe}.ckpt.pt",
        tokens=golden_tokens,
        output=tmp_path / "bundle",
        format="jit-script",
        streaming=False,
    )
    model: Any = torch.jit.load(tmp_path / "bundle" / MODEL_FILE)
    golden = torch.load(goldens / f"{recipe}.encoder.pt", weights_only=True)
    expected = golden["forward_full"]
    y, y_lens = model.encoder(golden["x"], golden["x_lens"])
    assert torch.equal(y_lens, expected["out_lens"])
    for row, size in enumerate(y_lens.tolist()):
        assert_close(y[row, :size], expected["out"][row, :size], rtol=0.0, atol=1e-5)
    assert model.decoder.context_size == 2
    contexts = golden["decoder_ctx"]
    decoder_out = model.decoder(contexts, False)
    assert_close(decoder_out, golden["decoder_out_need_pad_False"], rtol=0.0, atol=1e-5)
    projected = model.joiner.encoder_proj(y[:1, 0]), model.joiner.decoder_proj(decoder_out[:1, 0])
    assert model.joiner(*projected, False).shape == (1, 30)
    assert not hasattr(model.encoder, "streaming_forward")


@pytest.mark.parametrize("recipe", [LSTM, *CONFORMERS])
def test_any_lengths_in_any_batch_give_what_torch_gives(
    offline_bundle: OfflineBundle, offline_checkpoint: Callable[[str], Path], recipe: str
) -> None:
    session = offline_bundle(recipe, "jit-script").open_offline_session()
    reference = TorchRuntime.open(load_model(recipe, offline_checkpoint(recipe)))
    rng = np.random.default_rng(0)
    for lengths in ([41], [120, 77], [33, 200, 98]):
        features = rng.normal(-8, 3, (len(lengths), max(lengths), 80)).astype(np.float32)
        found, found_lens = session.encode(features, np.array(lengths))
        expected, expected_lens = reference.encode(features, np.array(lengths))
        assert found_lens.tolist() == expected_lens.tolist()
        for row, length in enumerate(found_lens.tolist()):
            np.testing.assert_allclose(
                found[row, :length], expected[row, :length], rtol=0, atol=1e-4
            )


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("recipe", CONFORMERS)
def test_pretrained_pt_of_either_kind_loads_as_epoch_999_for_whole_utterances(
    offline_bundle: OfflineBundle,
    conformer_bundle: Callable[[str, str], Bundle],
    offline_checkpoint: Callable[[str], Path],
    goldens: Path,
    shared_data: Path,
    tmp_path: Path,
    recipe: str,
    streaming: bool,
) -> None:
    bundle = (conformer_bundle if streaming else offline_bundle)(recipe, "state-dict")
    trained = goldens / f"{recipe}.ckpt.pt" if streaming else offline_checkpoint(recipe)
    (tmp_path / "epoch-999.pt").symlink_to((bundle.path / WEIGHTS_FILE).resolve())
    choice = CheckpointChoice(exp_dir=tmp_path, epoch=999, avg=1, use_averaged_model=False)
    again = load(recipe, choice, {"encoder": {"causal_convolution": streaming}})
    recording = next((shared_data / "fsdd" / "recordings").glob("3_*.wav"))
    found = [
        OfflineRecognizer(TorchRuntime.open(model), bundle.symbols).transcribe(recording)
        for model in (again, load(recipe, trained))
    ]
    assert found[0].tokens == found[1].tokens
    assert found[0].timestamps == found[1].timestamps


@pytest.mark.parametrize("format_name", FORMATS)
def test_calve_transcribes_with_it_as_with_the_checkpoint(
    offline_bundle: OfflineBundle,
    offline_checkpoint: Callable[[str], Path],
    golden_tokens: Path,
    shared_data: Path,
    format_name: str,
) -> None:
    recipe = CONFORMERS[-1]
    recordings = sorted((shared_data / "fsdd" / "recordings").glob("*_theo_0.wav"))[:4]
    symbols = SymbolTable.read(golden_tokens).for_vocabulary(30)
    session = TorchRuntime.open(load_model(recipe, offline_checkpoint(recipe)))
    recognizer = OfflineRecognizer(session, symbols)
    expected = [recognizer.transcribe(path) for path in recordings]
    found = list(transcribe(offline_bundle(recipe, format_name), recordings))
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert [one.timestamps for one in found] == [one.timestamps for one in expected]
    assert any(one.tokens for one in found)


@pytest.mark.parametrize("format_name", FORMATS)
def test_its_session_sees_whole_utterances_and_nothing_else(
    offline_bundle: OfflineBundle, format_name: str
) -> None:
    bundle = offline_bundle(CONFORMERS[-1], format_name)
    session: Any = open_session(bundle.path)
    assert isinstance(session, Session)
    features = Golden.read(bundle.path / "golden.npz").features[None]
    lengths = np.array([features.shape[1]])
    assert session.encode(features, lengths)[1].tolist() == [(features.shape[1] - 3) // 4]
    with pytest.raises(ConfigError):
        session.encode_in_chunks(features, lengths)


@pytest.mark.parametrize("format_name", FORMATS)
def test_what_streams_refuses_it(
    offline_bundle: OfflineBundle, format_name: str, tmp_path: Path
) -> None:
    bundle = offline_bundle(CONFORMERS[-1], format_name)
    for use in (bundle.open_streaming_session, lambda: OnlineRecognizer.from_bundle(bundle)):
        with pytest.raises(BundleError, match="for whole utterances and cannot stream") as caught:
            use()
        assert "calve transcribe" in str(caught.value.fix)
    with pytest.raises(ConfigError, match="no chunks"):
        next(transcribe(bundle, [tmp_path / "never.wav"], chunk_ms=320))


def test_a_bundle_that_streams_does_not_see_whole_utterances(
    conformer_bundle: Callable[[str, str], Bundle],
) -> None:
    with pytest.raises(BundleError, match="cannot decode whole utterances") as caught:
        conformer_bundle(CONFORMERS[-1], "jit-script").open_offline_session()
    assert "--streaming-model 0" in str(caught.value.fix)


def test_the_class_of_the_encoder_says_that_it_is_for_whole_utterances(
    offline_bundle: OfflineBundle,
    conformer_bundle: Callable[[str, str], Bundle],
    tmp_path: Path,
) -> None:
    bundle = offline_bundle(CONFORMERS[-1], "jit-script")
    assert (
        read_metadata(bundle.path) == bundle.manifest.metadata == {"class_name": "OfflineEncoder"}
    )
    assert lint(bundle.path) == []
    folder = Path(shutil.copytree(bundle.path, tmp_path / "mixed"))
    streaming = conformer_bundle(CONFORMERS[-1], "jit-script")
    shutil.copy(streaming.path / MODEL_FILE, folder / MODEL_FILE)
    with pytest.raises(BundleError, match=r"see whole utterances with .* of class Conformer"):
        Bundle(folder, bundle.manifest).open_offline_session()
    shutil.copy(bundle.path / MODEL_FILE, folder / MODEL_FILE)
    with pytest.raises(BundleError, match=r"stream through .* of class OfflineEncoder"):
        Bundle(folder, streaming.manifest).open_streaming_session()


def test_it_is_not_quantized(offline_bundle: OfflineBundle, tmp_path: Path) -> None:
    bundle = offline_bundle(CONFORMERS[-1], "jit-script")
    with pytest.raises(PluginError, match="no plugin quantizes jit-script bundles") as caught:
        quantize(bundle.path, output=tmp_path / "int8")
    assert caught.value.fix == "export the checkpoint to ncnn and quantize that bundle"
    assert list(tmp_path.iterdir()) == []


def refused(checkpoint: Path, tokens: Path, folder: Path, **job: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        export(
            CONFORMERS[-1], checkpoint=checkpoint, tokens=tokens, output=folder / "bundle", **job
        )
    assert list(folder.iterdir()) == []
    return caught.value


@pytest.mark.parametrize("format_name", ["ncnn", "onnx", "jit-trace"])
def test_formats_for_streaming_alone_name_those_that_are_not(
    offline_checkpoint: Callable[[str], Path],
    goldens: Path,
    golden_tokens: Path,
    tmp_path: Path,
    format_name: str,
) -> None:
    cannot = refused(
        offline_checkpoint(CONFORMERS[-1]), golden_tokens, tmp_path, format=format_name
    )
    assert "cannot stream" in cannot.what
    assert "--causal-convolution 1" in str(cannot.fix)
    assert "state-dict or jit-script with --streaming-model 0" in str(cannot.fix)
    unwanted = refused(
        goldens / f"{CONFORMERS[-1]}.ckpt.pt",
        golden_tokens,
        tmp_path,
        format=format_name,
        streaming=False,
    )
    assert f"{format_name} bundles stream" in unwanted.what
    assert "state-dict or jit-script" in str(unwanted.fix)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_model_that_cannot_stream_is_refused_where_it_must(
    offline_checkpoint: Callable[[str], Path],
    golden_tokens: Path,
    tmp_path: Path,
    format_name: str,
) -> None:
    checkpoint = offline_checkpoint(CONFORMERS[-1])
    error = refused(checkpoint, golden_tokens, tmp_path, format=format_name, streaming=True)
    assert "cannot stream" in error.what
    assert "--streaming-model 0" in str(error.fix)
