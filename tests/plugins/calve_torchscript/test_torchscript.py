from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from calve.api import BundleError, ConfigError, ExportError
from calve.bundles.bundle import Bundle
from calve.bundles.metadata import bundle_exporter, read_metadata, write_metadata
from calve.exporting.export import export
from calve.exporting.verification import PASSED, verify
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_torchscript.interface import compile_encoder
from calve_torchscript.layout import MODEL_FILE, NETWORKS, network_path, save_module
from calve_torchscript.lint import lint
from calve_torchscript.runtime import TorchscriptRuntime
from calve_transducer.model.config import TransducerConfig
from calve_transducer.model.transducer import Transducer

FORMATS = ["jit-trace", "jit-script"]


@pytest.mark.parametrize(
    ("format_name", "files"),
    [
        ("jit-trace", {f"{network}_jit_trace.pt" for network in NETWORKS}),
        ("jit-script", {"cpu_jit.pt"}),
    ],
)
def test_files_have_icefalls_names(
    bundle_of: Callable[[str], Bundle], format_name: str, files: set[str]
) -> None:
    bundle = bundle_of(format_name)
    names = {path.name for path in bundle.path.iterdir()}
    assert names == files | {"tokens.txt", "bundle.json", "golden.npz"}


@pytest.mark.parametrize("format_name", FORMATS)
def test_verify_passes(bundle_of: Callable[[str], Bundle], format_name: str) -> None:
    checks = list(verify(bundle_of(format_name).path))
    assert {check.outcome for check in checks} == {PASSED}


@pytest.mark.parametrize("format_name", FORMATS)
def test_streams_of_a_batch_are_independent(
    bundle_of: Callable[[str], Bundle], format_name: str
) -> None:
    session = bundle_of(format_name).open_streaming_session()
    segments = np.random.default_rng(0).normal(-5, 3, (2, 3, 9, 80)).astype(np.float32)
    _, states = session.encode_chunk(segments[0], session.init_states(3))
    together, _ = session.encode_chunk(segments[1], states)
    for row in range(3):
        _, alone = session.encode_chunk(segments[0, row : row + 1], session.init_states())
        y, _ = session.encode_chunk(segments[1, row : row + 1], alone)
        np.testing.assert_allclose(y[0], together[row], rtol=0, atol=1e-5)


@pytest.mark.parametrize("format_name", FORMATS)
def test_metadata_are_the_class_and_cannot_become_another(
    copy_of: Callable[[str], Path], format_name: str
) -> None:
    folder = copy_of(format_name)
    assert bundle_exporter(folder).format == format_name
    assert read_metadata(folder) == write_metadata(folder) == {"class_name": "RNN"}
    with pytest.raises(ConfigError, match="cannot be rewritten"):
        write_metadata(folder, {"class_name": "Conformer"})


def test_weights_alone_carry_no_metadata(copy_of: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match="state-dict carry no metadata"):
        read_metadata(copy_of("state-dict"))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("broken", [None, b"no archive"])
def test_a_missing_or_damaged_file_is_named(
    copy_of: Callable[[str], Path],
    bundle_of: Callable[[str], Bundle],
    network: str,
    broken: bytes | None,
) -> None:
    path = network_path(copy_of("jit-trace"), network)
    path.unlink()
    if broken is not None:
        path.write_bytes(broken)
    (finding,) = lint(path.parent)
    assert (finding.code, finding.where) == ("file", str(path))
    with pytest.raises(BundleError) as caught:
        TorchscriptRuntime.open(Bundle(path.parent, bundle_of("jit-trace").manifest))
    assert caught.value.where == str(path)


def test_a_model_without_a_joiner_is_an_error(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("jit-script")
    model = nn.Module()
    model.encoder, model.decoder = nn.Linear(1, 1), nn.Linear(1, 1)
    save_module(torch.jit.script(model), folder / MODEL_FILE)
    assert "the model has no joiner" in lint(folder)[0].what


def test_an_encoder_of_another_class_is_an_error(
    copy_of: Callable[[str], Path], bundle_of: Callable[[str], Bundle]
) -> None:
    folder = copy_of("jit-trace")
    save_module(torch.jit.script(nn.Linear(1, 1)), network_path(folder, "encoder"))
    assert [finding.code for finding in lint(folder)] == ["class-name"]
    with pytest.raises(BundleError, match="class Linear"):
        TorchscriptRuntime.open(Bundle(folder, bundle_of("jit-trace").manifest))


def test_lint_misses_a_method_and_the_convolution(copy_of: Callable[[str], Path]) -> None:
    class RNN(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(30, 2)

        def forward(self, y: torch.Tensor) -> torch.Tensor:
            return self.embedding(y)

    folder = copy_of("jit-trace")
    save_module(torch.jit.trace(RNN(), torch.zeros(1)), network_path(folder, "encoder"))
    save_module(
        torch.jit.trace(Decoder(), torch.zeros(1, dtype=torch.int64)),
        network_path(folder, "decoder"),
    )
    assert [finding.code for finding in lint(folder)] == ["interface", "interface"]
    (folder / "tokens.txt").write_text("<blk> 0\n")
    assert "tokens" in [finding.code for finding in lint(folder)]


def test_lint_finds_networks_that_changed_places(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("jit-trace")
    shutil.copy(network_path(folder, "joiner"), network_path(folder, "decoder"))
    found = [finding.what for finding in lint(folder)]
    assert "the decoder has no embedding, which calve reads" in found


def test_an_unknown_runtime_is_refused(bundle_of: Callable[[str], Bundle]) -> None:
    with pytest.raises(ConfigError, match="no runtime 'ncnn'"):
        lint(bundle_of("jit-trace").path, "ncnn")


def test_an_unknown_class_is_refused_before_anything_is_compiled() -> None:
    encoder = LstmEncoder(LstmEncoderConfig(1, encoder_dim=8, rnn_hidden_size=12))
    with pytest.raises(ConfigError, match="encoders of class 'Zipformer'") as caught:
        compile_encoder("Zipformer", encoder, encoder.geometry)
    assert caught.value.fix == "known classes are RNN, Conformer"


def test_a_decoder_without_convolution_is_refused(golden_tokens: Path, tmp_path: Path) -> None:
    encoder = LstmEncoder(LstmEncoderConfig(1, encoder_dim=8, rnn_hidden_size=12))
    config = TransducerConfig(30, context_size=1, decoder_dim=8, joiner_dim=8)
    torch.save({"model": Transducer(encoder, config).state_dict()}, tmp_path / "pretrained.pt")
    with pytest.raises(ExportError, match="a decoder that sees one symbol has none"):
        export(
            "lstm_transducer_stateless2",
            checkpoint=tmp_path / "pretrained.pt",
            tokens=golden_tokens,
            output=tmp_path / "bundle",
            format="jit-trace",
        )
