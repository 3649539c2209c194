from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from calve.api import ConfigError
from calve.protocols import Finding
from calve_onnx.layout import find_network
from calve_onnx.lint import lint
from calve_onnx.metadata import stamp, store


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


@pytest.mark.parametrize("network", ["encoder", "decoder", "joiner"])
def test_a_missing_network_is_named(broken_dir: Path, network: str) -> None:
    find_network(broken_dir, network).unlink()
    finding = only(lint(broken_dir))
    assert (finding.severity, finding.code) == ("error", "file")
    assert f"{network}*.onnx is missing" in finding.what


def test_two_precisions_side_by_side_are_ambiguous(broken_dir: Path) -> None:
    shutil.copy(broken_dir / "encoder.onnx", broken_dir / "encoder.int8.onnx")
    assert "there are 2 encoders: encoder.int8.onnx, encoder.onnx" in only(lint(broken_dir)).what


def test_a_file_that_is_no_network_is_named(broken_dir: Path) -> None:
    path = find_network(broken_dir, "decoder")
    path.write_text("not ONNX")
    assert only(lint(broken_dir)).where == str(path)


def test_networks_that_changed_places_do_not_fit_their_roles(broken_dir: Path) -> None:
    shutil.copy(find_network(broken_dir, "decoder"), find_network(broken_dir, "joiner"))
    finding = only(lint(broken_dir))
    assert finding.code == "interface"
    assert "the joiner has 1 inputs and 1 outputs instead of 2 and 1" in finding.what


def test_an_input_of_any_shape_contradicts_nothing(broken_dir: Path) -> None:
    path = find_network(broken_dir, "encoder")
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    assert lint(broken_dir) == []


def test_a_symbol_table_of_another_model_is_an_error(broken_dir: Path) -> None:
    (broken_dir / "tokens.txt").write_text("<blk> 0\na 1\n")
    assert only(lint(broken_dir)).code == "tokens"


def test_without_metadata_only_sherpa_onnx_has_a_problem(broken_dir: Path) -> None:
    stamp(find_network(broken_dir, "encoder"), {})
    finding = only(lint(broken_dir, "sherpa-onnx"))
    assert finding.code == "metadata-missing"
    assert "calve metadata write" in finding.fix
    assert lint(broken_dir, "onnx") == []


def test_an_encoder_that_was_not_stamped_at_all_is_an_error(broken_dir: Path) -> None:
    stamp(find_network(broken_dir, "encoder"), {})
    finding = only(lint(broken_dir))
    assert (finding.severity, finding.code) == ("error", "metadata-missing")


def test_an_encoder_that_is_none_of_sherpa_onnxs_needs_no_model_type(broken_dir: Path) -> None:
    store.write(broken_dir, {"arch": "my_encoder", "dim": 16})
    finding = only(lint(broken_dir))
    assert (finding.severity, finding.code) == ("warning", "model-type")
    assert only(lint(broken_dir, "sherpa-onnx")).severity == "error"


def test_a_key_that_sherpa_onnx_needs_is_missed(broken_dir: Path) -> None:
    table = store.read(broken_dir)
    assert table is not None
    del table["decode_chunk_len"]
    store.write(broken_dir, table)
    assert "decode_chunk_len=None" in only(lint(broken_dir)).what


def test_an_unknown_model_type_is_a_warning(broken_dir: Path) -> None:
    store.write(broken_dir, {"model_type": "whisperer"})
    finding = only(lint(broken_dir))
    assert (finding.severity, finding.code) == ("warning", "model-type")


@pytest.mark.parametrize(
    ("network", "table"),
    [
        ("decoder", {"context_size": 3, "vocab_size": 30}),
        ("decoder", {"context_size": 2, "vocab_size": 31}),
        ("joiner", {"joiner_dim": 16}),
    ],
)
def test_metadata_that_contradict_the_network_are_an_error(
    broken_dir: Path, network: str, table: dict[str, int | str]
) -> None:
    stamp(find_network(broken_dir, network), table)
    finding = only(lint(broken_dir))
    assert finding.code == "metadata-mismatch"
    assert finding.where == str(find_network(broken_dir, network))


def test_numbers_of_another_type_are_an_error(broken_dir: Path) -> None:
    path = find_network(broken_dir, "joiner")
    half, full = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    model = onnx.load(path)
    (output,) = model.graph.output
    model.graph.node.append(onnx.helper.make_node("Cast", [output.name], ["half"], to=half))
    assert output.type.tensor_type.elem_type == full
    output.name, output.type.tensor_type.elem_type = "half", half
    onnx.save(model, path)
    assert only(lint(broken_dir)).code == "type"


def test_an_unknown_runtime_is_refused(broken_dir: Path) -> None:
    with pytest.raises(ConfigError, match="no runtime 'ncnn'"):
        lint(broken_dir, "ncnn")
