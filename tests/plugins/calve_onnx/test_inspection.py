"""What ``calve inspect`` shows of ONNX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calve.api import BundleError
from calve_onnx.inspection import inspect


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """y = x w, with metadata."""
    weight = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, {"model_type": "lstm"})
    onnx.save(model, tmp_path / "a.onnx")
    return tmp_path / "a.onnx"


def test_ports_metadata_and_weights_are_shown(network: Path) -> None:
    found = inspect(network)
    assert found is not None
    assert found["kind"] == "ONNX network"
    assert found["inputs"] == [{"name": "x", "type": "float", "shape": "N, 3"}]
    assert found["outputs"] == [{"name": "y", "type": "float", "shape": "N, 4"}]
    assert found["metadata"] == {"model_type": "lstm"}
    assert found["operator sets"] == {"ai.onnx": 17}
    assert found["nodes by type"] == {"MatMul": 1}
    assert found["weights"] == [
        {"stored as": "float", "tensors": 1, "numbers": 12, "in other files": 0}
    ]


def test_data_in_other_files_are_counted_and_not_opened(network: Path) -> None:
    model = onnx.load(network)
    (weight,) = model.graph.initializer
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")
    weight.ClearField("raw_data")
    network.write_bytes(model.SerializeToString())
    found = inspect(network)
    assert found is not None
    assert found["weights"][0]["in other files"] == 1


@pytest.mark.parametrize("content", [b"", b"\xff\xff no protobuf"])
def test_a_damaged_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(BundleError, match="holds no ONNX network"):
        inspect(tmp_path / "a.onnx")


def test_other_files_are_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"x")
    assert inspect(tmp_path / "a.pt") is None
