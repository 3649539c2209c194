"""ONNX files that keep weights elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from calve.api import BundleError
from calve.bundles.bundle import Bundle
from calve_onnx.lint import lint
from calve_onnx.metadata import stamp
from calve_onnx.network import OnnxNetwork


@pytest.fixture
def joiner(onnx_bundle: Callable[[str], Bundle], tmp_path: Path) -> Path:
    """The joiner of a bundle that may be broken."""
    folder = tmp_path / "bundle"
    shutil.copytree(onnx_bundle("fp32").path, folder)
    return folder / "joiner.onnx"


def move_weights(path: Path, location: str) -> None:
    """Let the first tensor lie elsewhere."""
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(len(content)))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    if location == "weights.bin":
        (path.parent / location).write_bytes(content)


def test_weights_beside_the_network_are_read(joiner: Path) -> None:
    before = OnnxNetwork(joiner)
    inputs = [port.zeros(1) + 1 for port in before.inputs]
    expected = before.run(*inputs)
    move_weights(joiner, "weights.bin")
    (found,) = OnnxNetwork(joiner).run(*inputs)
    assert (found == expected[0]).all()


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("../secret", "lies outside of its folder"),
        ("a/../../secret", "lies outside of its folder"),
        ("/etc/passwd", "lies outside of its folder"),
        ("..\\secret", "lies outside of its folder"),
        ("link", "is a link that leads out of its folder"),
        ("device", "is a link that leads out of its folder"),
        ("pipe", "is not a file beside it"),
        ("nowhere", "is not a file beside it"),
        (".", "is not a file beside it"),
        ("x" * 999, "is not a file beside it|cannot be found"),
    ],
)
def test_weights_elsewhere_are_not_opened(
    joiner: Path, tmp_path: Path, location: str, problem: str
) -> None:
    (tmp_path / "secret").write_bytes(bytes(100_000))
    (joiner.parent / "link").symlink_to(tmp_path / "secret")
    (joiner.parent / "device").symlink_to("/dev/zero")
    os.mkfifo(joiner.parent / "pipe")
    move_weights(joiner, location)
    with pytest.raises(BundleError, match=problem) as caught:
        OnnxNetwork(joiner)
    assert caught.value.where == str(joiner)
    with pytest.raises(BundleError, match=problem):
        stamp(joiner, {"a": 1})
    assert [finding.severity for finding in lint(joiner.parent)] == ["error"]


def test_a_tensor_of_an_attribute_may_not_lie_elsewhere_either(joiner: Path) -> None:
    model = onnx.load(joiner)
    tensor = onnx.helper.make_tensor("a", onnx.TensorProto.FLOAT, [1], [1.0])
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["b"], value=tensor))
    hidden = model.graph.node[-1].attribute[0].t
    hidden.data_location = onnx.TensorProto.EXTERNAL
    entry = hidden.external_data.add()
    entry.key, entry.value = "location", "../secret"
    joiner.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=r"\.\./secret"):
        OnnxNetwork(joiner)
