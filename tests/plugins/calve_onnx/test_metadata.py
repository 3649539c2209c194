from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from calve.api import BundleError, PluginError
from calve.bundles.bundle import Bundle
from calve.bundles.metadata import bundle_exporter, read_metadata, write_metadata
from calve_onnx.layout import find_network
from calve_onnx.metadata import stamp, store
from calve_onnx.network import OnnxNetwork


def test_what_is_written_is_read_with_numbers_as_numbers(broken_dir: Path) -> None:
    table: dict[str, int | str] = {"model_type": "lstm", "T": 37}
    store.write(broken_dir, table)
    assert store.read(broken_dir) == table


def test_stamping_keeps_the_network(broken_dir: Path) -> None:
    path = find_network(broken_dir, "decoder")
    contexts = np.array([[3, 4]])
    (before,) = OnnxNetwork(path).run(contexts)
    stamp(path, {"anything": "at all"})
    (after,) = OnnxNetwork(path).run(contexts)
    np.testing.assert_array_equal(before, after)


def test_an_encoder_without_metadata_has_none(broken_dir: Path) -> None:
    store.write(broken_dir, {})
    assert store.read(broken_dir) is None
    assert store.infer(broken_dir) is None


def test_a_longer_step_can_be_stamped_for_sherpa_onnx(broken_dir: Path) -> None:
    table = write_metadata(broken_dir, {"T": 37, "decode_chunk_len": 32})
    assert read_metadata(broken_dir) == table
    assert (table["T"], table["d_model"]) == (37, 32)
    Bundle.open(broken_dir).verify_files()


@pytest.mark.parametrize("content", [b"", b"no network"])
def test_a_damaged_encoder_is_not_stamped(broken_dir: Path, content: bytes) -> None:
    path = find_network(broken_dir, "encoder")
    path.write_bytes(content)
    with pytest.raises(BundleError, match=path.name):
        write_metadata(broken_dir)
    assert path.read_bytes() == content


def test_a_foreign_directory_is_recognized_by_its_encoder(broken_dir: Path, tmp_path: Path) -> None:
    (broken_dir / "bundle.json").unlink()
    assert bundle_exporter(broken_dir).format == "onnx"
    assert not store.recognizes(tmp_path)


def test_without_onnx_the_error_says_what_to_install(
    broken_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(PluginError, match="onnx is not installed") as caught:
        store.write(broken_dir, {})
    assert caught.value.fix == "pip install 'calve[onnx]'"
