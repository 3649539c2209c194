"""The conformer in graph formats, each run by its runtime and by the client that knows it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from calve.bundles.bundle import Bundle
from calve.errors import ConfigError
from calve.exporting.export import export
from calve.exporting.quantization import quantize
from calve.exporting.verification import FAILED, PASSED, SKIPPED, verify
from calve.models.loading import load_model
from calve_ncnn.layout import param_path
from calve_ncnn.lint import lint as lint_ncnn
from calve_ncnn.param import ParamFile
from calve_onnx.layout import find_network
from calve_onnx.lint import lint as lint_onnx
from calve_transducer.runtime import TorchRuntime

PLAIN = "pruned_transducer_stateless"
REWORKED = "pruned_transducer_stateless5"
OPTIONS = {
    "causal_convolution": True,
    "decode_chunk_size": 8,
    "left_context": 16,
    "right_context": 0,
}
Export = Callable[..., Bundle]


@pytest.fixture(scope="module")
def exported(
    goldens: Path, golden_tokens: Path, tmp_path_factory: pytest.TempPathFactory
) -> Export:
    """``exported(recipe, format, right_context, **options)``: a golden model, exported once."""

    @cache
    def bundle(recipe: str, format_name: str, right_context: int = 0, **options: Any) -> Bundle:
        return export(
            recipe,
            checkpoint=goldens / f"{recipe}.ckpt.pt",
            tokens=golden_tokens,
            output=tmp_path_factory.mktemp("conformer") / "bundle",
            format=format_name,
            overrides={"encoder": OPTIONS | {"right_context": right_context}},
            **options,
        )

    return bundle


def outcomes(bundle: Bundle) -> dict[str, str]:
    checks = list(verify(bundle.path))
    assert FAILED not in [check.outcome for check in checks], checks
    return {check.name: check.outcome for check in checks}


def check_parity(bundle: Bundle) -> None:
    """fp32 over chained chunks: outputs, states and symbols."""
    parity = bundle.manifest.parity
    assert parity["precision"] == "fp32"
    assert parity["max_abs_error"] <= 1e-4
    assert parity["tokens_equal"]
    assert parity["tokens"]
    compared = {output["output"] for output in parity["outputs"]}
    assert compared >= {"encoder_out", "attention", "convolution", "decoder_out", "logits"}
    assert min(output["chunks"] for output in parity["outputs"]) >= 10


@pytest.mark.parametrize(("recipe", "right_context"), [(PLAIN, 2), (REWORKED, 0), (REWORKED, 2)])
def test_ncnn_agrees_with_torch_and_is_verified_by_its_runtime_alone(
    exported: Export, recipe: str, right_context: int
) -> None:
    bundle = exported(recipe, "ncnn", right_context, fp16=False)
    check_parity(bundle)
    assert outcomes(bundle) == {
        **dict.fromkeys(("files", "lint", "features", "golden"), PASSED),
        "sherpa-ncnn": SKIPPED,
    }


@pytest.mark.parametrize(("chunk_size", "left_context"), [(16, 64), (8, 24), (16, 16)])
def test_ncnn_takes_lengths_that_fill_its_vectors(
    goldens: Path, golden_tokens: Path, tmp_path: Path, chunk_size: int, left_context: int
) -> None:
    """On a CPU with AVX-512, ncnn packs 16 numbers and crashes where it pads a packed vector."""
    sizes = {"decode_chunk_size": chunk_size, "left_context": left_context}
    bundle = export(
        REWORKED,
        checkpoint=goldens / f"{REWORKED}.ckpt.pt",
        tokens=golden_tokens,
        output=tmp_path / "bundle",
        overrides={"encoder": OPTIONS | sizes},
        fp16=False,
    )
    check_parity(bundle)


@pytest.mark.parametrize(("recipe", "right_context"), [(PLAIN, 0), (REWORKED, 0), (REWORKED, 2)])
def test_onnx_agrees_with_torch_and_with_sherpa_onnx(
    exported: Export, recipe: str, right_context: int
) -> None:
    bundle = exported(recipe, "onnx", right_context)
    check_parity(bundle)
    assert set(outcomes(bundle).values()) == {PASSED}


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_onnx_with_smaller_weights_is_the_same_in_sherpa_onnx(
    exported: Export, precision: str
) -> None:
    bundle = exported(REWORKED, "onnx", precision=precision)
    assert set(outcomes(bundle).values()) == {PASSED}
    assert bundle.manifest.precision["encoder"] == precision


def test_ncnn_quantizes_every_linear_layer(exported: Export, tmp_path: Path) -> None:
    source = exported(REWORKED, "ncnn", fp16=False)
    report = quantize(source.path, output=tmp_path / "int8")
    linear = [layer for layer in report.layers if layer.type in ("Gemm", "InnerProduct")]
    layers = source.manifest.config["encoder"]["num_encoder_layers"]
    in_encoder = [layer for layer in linear if layer.network == "encoder"]
    assert len(in_encoder) == 1 + 10 * layers
    assert {layer.precision for layer in linear} == {"int8"}
    assert report.output_error is not None
    assert report.output_error < 0.05
    outcomes(Bundle.open(tmp_path / "int8"))


def test_the_blobs_and_metadata_are_those_that_sherpa_onnx_reads(exported: Export) -> None:
    bundle = exported(REWORKED, "onnx", 2)
    encoder, joiner = (onnx.load(find_network(bundle.path, name)) for name in ("encoder", "joiner"))

    def ports(ports: Any) -> dict[str, list[int | str]]:
        return {
            port.name: [dim.dim_param or dim.dim_value for dim in port.type.tensor_type.shape.dim]
            for port in ports
        }

    assert ports(encoder.graph.input) == {
        "x": ["N", 4 * 8 + 19, 80],
        "cached_attn": [3, 16, "N", 32],
        "cached_conv": [3, 30, "N", 32],
        "processed_lens": ["N"],
    }
    assert list(ports(encoder.graph.output)) == [
        "encoder_out",
        "new_cached_attn",
        "new_cached_conv",
        "new_processed_lens",
    ]
    assert {prop.key: prop.value for prop in encoder.metadata_props} == {
        "model_type": "conformer",
        "version": "1",
        "model_author": "k2-fsa",
        "T": "51",
        "decode_chunk_len": "32",
        "pad_length": "19",
        "chunk_size": "8",
        "left_context": "16",
        "right_context": "2",
        "num_encoder_layers": "3",
        "encoder_dim": "32",
        "cnn_module_kernel": "31",
    }
    assert {prop.key: prop.value for prop in joiner.metadata_props} == {"joiner_dim": "32"}
    assert lint_onnx(bundle.path) == []


def test_the_first_generations_joiner_says_what_it_takes(exported: Export) -> None:
    """Its inputs are as wide as the vocabulary, whatever ``joiner_dim`` is inside."""
    bundle = exported(PLAIN, "onnx")
    joiner = onnx.load(find_network(bundle.path, "joiner"))
    assert {prop.key: prop.value for prop in joiner.metadata_props} == {"joiner_dim": "30"}
    assert lint_onnx(bundle.path) == []


@pytest.mark.parametrize("format_name", ["ncnn", "onnx"])
def test_streams_leave_and_enter_a_batch_as_in_torch(
    exported: Export, goldens: Path, format_name: str
) -> None:
    bundle = exported(REWORKED, format_name, **({"fp16": False} if format_name == "ncnn" else {}))
    model = load_model(REWORKED, goldens / f"{REWORKED}.ckpt.pt", **OPTIONS)
    ours, torch_session = bundle.open_streaming_session(), TorchRuntime.open(model)
    rng = np.random.default_rng(0)
    # Batches of one, two and three streams: a new one comes in, then the first one leaves.
    rows = {"x": [[0], [0, 1], [0, 1, 2], [1, 2]]}["x"]
    states: dict[str, Any] = {}
    for session in (ours, torch_session):
        states[id(session)] = session.init_states(1)
    for before, now in zip([[0], *rows], rows, strict=False):
        segment = rng.normal(-5, 3, (len(now), ours.geometry.segment, 80)).astype(np.float32)
        answers = []
        for session in (ours, torch_session):
            kept = [before.index(row) for row in now if row in before]
            current = session.select_states(states[id(session)], kept)
            new = len(now) - len(kept)
            if new:
                current = session.join_states([current, session.init_states(new)])
            y, states[id(session)] = session.encode_chunk(segment, current)
            answers.append(y)
        contexts = np.zeros((len(now), 2), np.int64)
        logits = [
            session.join(np.ascontiguousarray(y[:, -1]), session.decode_context(contexts))
            for session, y in zip((ours, torch_session), answers, strict=True)
        ]
        np.testing.assert_allclose(*logits, rtol=0, atol=1e-4)


def test_any_ncnn_loads_the_file_and_sherpa_ncnn_is_ruled_out_by_lint(exported: Export) -> None:
    bundle = exported(REWORKED, "ncnn", fp16=False)
    param = ParamFile.read(param_path(bundle.path, "encoder"))
    assert not param.of_type("SherpaMetaData")
    assert bundle.manifest.metadata["arch"] == "conformer"
    (warning,) = lint_ncnn(bundle.path)
    assert (warning.severity, warning.code) == ("warning", "architecture")
    (error,) = lint_ncnn(bundle.path, "sherpa-ncnn")
    assert (error.severity, error.code) == ("error", "architecture")
    assert lint_ncnn(bundle.path, "ncnn") == []


def refused(recipe: str, checkpoint: Path, tokens: Path, folder: Path, **job: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        export(recipe, checkpoint=checkpoint, tokens=tokens, output=folder / "bundle", **job)
    assert list(folder.iterdir()) == []
    return caught.value


@pytest.mark.parametrize("format_name", ["ncnn", "onnx"])
def test_a_model_that_cannot_stream_is_refused(
    goldens: Path, golden_tokens: Path, tmp_path: Path, format_name: str
) -> None:
    trained = torch.load(goldens / f"{REWORKED}.ckpt.pt", weights_only=False)
    checkpoint, folder = tmp_path / "epoch-1.pt", tmp_path / "out"
    torch.save(trained | {"causal_convolution": False}, checkpoint)
    folder.mkdir()
    error = refused(REWORKED, checkpoint, golden_tokens, folder, format=format_name)
    assert "cannot stream" in error.what
    assert "--causal-convolution 1" in str(error.fix)


def test_frames_that_come_twice_are_refused_for_sherpa_onnx(
    goldens: Path, golden_tokens: Path, tmp_path: Path
) -> None:
    error = refused(
        PLAIN,
        goldens / f"{PLAIN}.ckpt.pt",
        golden_tokens,
        tmp_path,
        format="onnx",
        overrides={"encoder": OPTIONS | {"right_context": 2}},
    )
    assert error.fix == "export it with --right-context 0"


@pytest.mark.parametrize("format_name", ["ncnn", "onnx"])
def test_an_empty_cache_is_refused(
    goldens: Path, golden_tokens: Path, tmp_path: Path, format_name: str
) -> None:
    error = refused(
        REWORKED,
        goldens / f"{REWORKED}.ckpt.pt",
        golden_tokens,
        tmp_path,
        format=format_name,
        overrides={"encoder": OPTIONS | {"left_context": 0}},
    )
    assert "without left context" in error.what
