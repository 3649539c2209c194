from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
import torch

from calve.api import ConfigError, ExportError
from calve.bundles.bundle import Bundle
from calve.exporting.export import export
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_onnx import steps
from calve_onnx.layout import NETWORKS, find_network
from calve_onnx.lint import lint
from calve_transducer.model.config import TransducerConfig
from calve_transducer.model.transducer import Transducer

RECIPE = "lstm_transducer_stateless2"
Bundles = Callable[[str], Bundle]


def stored_types(model: onnx.ModelProto) -> set[str]:
    """Types of the tensors that are worth storing in fewer bytes."""
    large = (one for one in model.graph.initializer if math.prod(one.dims) >= 64)
    return {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in large}


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of loops included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from nodes(attribute.g)


@pytest.mark.parametrize(
    ("precision", "suffix"), [("fp32", ""), ("fp16", ".fp16"), ("int8", ".int8")]
)
def test_the_precision_is_part_of_the_file_names(
    onnx_bundle: Bundles, precision: str, suffix: str
) -> None:
    bundle = onnx_bundle(precision)
    names = {path.name for path in bundle.path.iterdir()}
    networks = {f"{network}{suffix}.onnx" for network in NETWORKS}
    assert names == networks | {"tokens.txt", "bundle.json", "golden.npz"}
    assert bundle.manifest.precision == dict.fromkeys(NETWORKS, precision)
    assert lint(bundle.path) == []


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_blob_names_and_free_axes_are_those_of_sherpa_onnx(
    onnx_bundle: Bundles, precision: str
) -> None:
    def ports(ports: list[onnx.ValueInfoProto]) -> dict[str, list[int | str]]:
        return {
            port.name: [dim.dim_param or dim.dim_value for dim in port.type.tensor_type.shape.dim]
            for port in ports
        }

    folder = onnx_bundle(precision).path
    encoder, decoder, joiner = (onnx.load(find_network(folder, name)).graph for name in NETWORKS)
    assert ports(encoder.input) == {
        "x": ["N", "T", 80],
        "state0": [3, "N", 32],
        "state1": [3, "N", 48],
    }
    assert list(ports(encoder.output)) == ["encoder_out", "new_state0", "new_state1"]
    assert ports(decoder.input) == {"y": ["N", 2]}
    assert ports(decoder.output) == {"decoder_out": ["N", 32]}
    assert ports(joiner.input) == {"encoder_out": ["N", 32], "decoder_out": ["N", 32]}
    assert ports(joiner.output) == {"logit": ["N", 30]}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_network_says_what_sherpa_onnx_reads(onnx_bundle: Bundles, precision: str) -> None:
    folder = onnx_bundle(precision).path
    encoder, decoder, joiner = (
        {one.key: one.value for one in onnx.load(find_network(folder, name)).metadata_props}
        for name in NETWORKS
    )
    assert encoder == {
        "model_type": "lstm",
        "version": "1",
        "model_author": "k2-fsa",
        "T": "9",
        "decode_chunk_len": "4",
        "num_encoder_layers": "3",
        "d_model": "32",
        "rnn_hidden_size": "48",
    }
    assert decoder == {"context_size": "2", "vocab_size": "30"}
    assert joiner == {"joiner_dim": "32"}


@pytest.mark.parametrize("network", NETWORKS)
def test_fp16_stores_every_tensor_in_half_the_bytes(onnx_bundle: Bundles, network: str) -> None:
    full = onnx.load(find_network(onnx_bundle("fp32").path, network))
    half = onnx.load(find_network(onnx_bundle("fp16").path, network))
    assert stored_types(full) == {"FLOAT"}
    assert stored_types(half) == {"FLOAT16"}


def test_int8_reaches_every_matrix_those_in_loops_included(onnx_bundle: Bundles) -> None:
    encoder = onnx.load(find_network(onnx_bundle("int8").path, "encoder"))
    operators = [node.op_type for node in nodes(encoder.graph)]
    assert operators.count("Loop") == 3
    assert "MatMul" not in operators
    # Per layer: input, recurrence, projection, two feed-forward; the front end's; the joiner's.
    assert operators.count("MatMulInteger") == 3 * 5 + 2
    for network in ("decoder", "joiner"):
        model = onnx.load(find_network(onnx_bundle("int8").path, network))
        assert "INT8" in stored_types(model), network


def test_int8_reaches_an_lstm_without_projection(golden_tokens: Path, tmp_path: Path) -> None:
    encoder = LstmEncoder(LstmEncoderConfig(2, encoder_dim=16, rnn_hidden_size=16))
    model = Transducer(encoder, TransducerConfig(30, decoder_dim=16, joiner_dim=16))
    torch.save({"model": model.state_dict()}, tmp_path / "pretrained.pt")
    bundle = export(
        RECIPE,
        checkpoint=tmp_path / "pretrained.pt",
        tokens=golden_tokens,
        output=tmp_path / "bundle",
        format="onnx",
        precision="int8",
    )
    graph = onnx.load(find_network(bundle.path, "encoder")).graph
    operators = [node.op_type for node in nodes(graph)]
    assert operators.count("DynamicQuantizeLSTM") == 2
    assert not {"LSTM", "MatMul", "Loop"} & set(operators)


def test_int8_keeps_golden_numbers_of_its_own(onnx_bundle: Bundles) -> None:
    parity = onnx_bundle("int8").manifest.parity
    assert parity["precision"] == "int8"
    assert 1e-3 < parity["max_abs_error"] < 1.0


def test_an_opset_that_torch_cannot_write_is_refused(
    golden_checkpoint: Path, golden_tokens: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="opset is 99; it must be from 13 to 20"):
        export(
            RECIPE,
            checkpoint=golden_checkpoint,
            tokens=golden_tokens,
            output=tmp_path / "bundle",
            format="onnx",
            opset=99,
        )


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_first_and_the_last_opset_work(
    golden_checkpoint: Path, golden_tokens: Path, tmp_path: Path, opset: int, precision: str
) -> None:
    bundle = export(
        RECIPE,
        checkpoint=golden_checkpoint,
        tokens=golden_tokens,
        output=tmp_path / "bundle",
        format="onnx",
        opset=opset,
        precision=precision,
    )
    model = onnx.load(find_network(bundle.path, "encoder"))
    assert {one.domain: one.version for one in model.opset_import}[""] == opset


def test_a_network_that_torch_cannot_export_is_an_error_and_leaves_nothing(
    golden_checkpoint: Path, golden_tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand a long story")

    monkeypatch.setattr(steps.torch.onnx, "export", fail)
    with pytest.raises(ExportError, match="cannot export the encoder to ONNX: no such operator"):
        export(
            RECIPE,
            checkpoint=golden_checkpoint,
            tokens=golden_tokens,
            output=tmp_path / "out" / "bundle",
            format="onnx",
        )
    assert not (tmp_path / "out").exists()
