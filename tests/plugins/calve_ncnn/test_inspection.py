"""What ``calve inspect`` shows of ncnn networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from calve.api import BundleError
from calve.bundles.bundle import Bundle
from calve_ncnn.inspection import inspect
from calve_ncnn.layout import bin_path, param_path


def test_either_file_tells_of_the_network(golden_bundle: Bundle) -> None:
    folder = golden_bundle.path
    found = inspect(param_path(folder, "encoder"))
    assert found == inspect(bin_path(folder, "encoder"))
    assert found is not None
    assert found["kind"] == "ncnn network"
    assert found["metadata"] == golden_bundle.manifest.metadata
    assert found["inputs"][0] == "in0"
    assert found["layers"] == sum(found["layers by type"].values())
    assert found["layers by type"]["LSTM"] == 3
    stored = {row["stored as"]: row for row in found["weights"]}
    assert set(stored) == {"float32"}
    assert stored["float32"]["bytes"] == 4 * stored["float32"]["numbers"]


def test_the_magic_number_is_enough(bundle_dir: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "network"
    renamed.write_bytes(param_path(bundle_dir, "joiner").read_bytes())
    found = inspect(renamed)
    assert found is not None
    assert found["weights"] == "there is no network.bin beside it"


def test_weights_of_another_network_are_said_to_be_wrong(bundle_dir: Path) -> None:
    bin_path(bundle_dir, "decoder").write_bytes(bin_path(bundle_dir, "joiner").read_bytes())
    found = inspect(param_path(bundle_dir, "decoder"))
    assert found is not None
    assert isinstance(found["weights"], str)


def test_other_files_are_left_to_others(bundle_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(b"\0" * 64)
    for path in (bundle_dir / "tokens.txt", bundle_dir / "bundle.json", tmp_path / "other.bin"):
        assert inspect(path) is None


def test_a_damaged_param_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.param").write_text("7767517\nthree\n")
    with pytest.raises(BundleError, match="layer-count blob-count"):
        inspect(tmp_path / "a.param")
