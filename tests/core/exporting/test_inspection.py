"""What is in a file: checkpoints, bundles, symbol tables, and files that nobody should run."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from calve.bundles.bundle import Bundle
from calve.errors import BundleError, CalveError, CheckpointError, DataError, PluginError
from calve.exporting import inspection
from calve.exporting.inspection import inspect_file
from calve.models.checkpoint_files import save_model


@pytest.mark.usefixtures("bundled_plugins")
def test_a_checkpoint_tells_its_sizes_options_and_recipe(golden_checkpoint: Path) -> None:
    found = inspect_file(golden_checkpoint)
    content = torch.load(golden_checkpoint, weights_only=True)
    assert (found["kind"], found["bytes"]) == ("checkpoint", golden_checkpoint.stat().st_size)
    assert found["recipes that it fits"] == ["lstm_transducer_stateless2"]
    networks = {row["module"]: row for row in found["networks"]}
    assert sum(row["numbers"] for row in networks.values()) == sum(
        tensor.numel() for tensor in content["model"].values()
    )
    assert networks["encoder"]["types"] == "float32"
    options = found["options by its shapes"]
    for name in ("rnn_hidden_size", "num_encoder_layers", "encoder_dim", "vocab_size"):
        assert options[name] == content[name]
    assert found["training parameters"]["cur_epoch"] == content["cur_epoch"]
    assert found["states"] == ["model"]
    json.dumps(found, allow_nan=False)


def test_the_states_of_training_are_listed(tmp_path: Path, golden_checkpoint: Path) -> None:
    content = torch.load(golden_checkpoint, weights_only=True)
    content |= {"model_avg": dict(content["model"]), "optimizer": {"state": {}}, "sampler": None}
    content["best_valid_loss"] = math.inf
    torch.save(content, tmp_path / "epoch-3.pt")
    found = inspect_file(tmp_path / "epoch-3.pt")
    assert found["states"] == ["model", "model_avg", "optimizer"]
    assert found["training parameters"]["best_valid_loss"] == "inf"


def test_a_checkpoint_of_no_known_recipe_is_described_all_the_same(tmp_path: Path) -> None:
    save_model(tmp_path / "a.pt", {"net.weight": torch.zeros(3, 4)}, {"epoch": 7})
    found = inspect_file(tmp_path / "a.pt")
    assert found["recipes that it fits"] == []
    assert found["options by its shapes"] == {}
    assert found["networks"] == [{"module": "net", "entries": 1, "numbers": 12, "types": "float32"}]
    assert found["training parameters"] == {"epoch": 7}


def test_a_bundle_is_its_manifest(golden_bundle: Bundle) -> None:
    found = inspect_file(golden_bundle.path)
    assert found["kind"] == "bundle"
    assert found["recipe"] == "lstm_transducer_stateless2"
    assert found["parameters"] == golden_bundle.manifest.parameters
    assert {row["file"] for row in found["files"]} == set(golden_bundle.manifest.files)
    assert inspect_file(golden_bundle.path / "bundle.json") == found


def test_a_symbol_table_tells_its_special_symbols(golden_tokens: Path) -> None:
    found = inspect_file(golden_tokens)
    assert (found["kind"], found["symbols"]) == ("symbol table", 30)
    assert (found["blank"], found["unknown"]) == (0, 2)
    assert found["first symbols"][:3] == ["<blk>", "<sos/eos>", "<unk>"]


class _Bomb:
    def __reduce__(self) -> Any:
        return os.system, ("touch exploded",)


def test_a_file_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"a": torch.zeros(1)}, "x": _Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(CheckpointError, match="would run code"):
        inspect_file(tmp_path / "bomb.pt")
    assert [file.name for file in tmp_path.iterdir()] == ["bomb.pt"]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("missing.pt", None, DataError),
        ("a.pt", b"no checkpoint", CheckpointError),
        ("archive", b"PK but none", CheckpointError),
        ("notes.sh", b"echo no model", DataError),
        ("empty", b"", DataError),
    ],
)
def test_what_cannot_be_read_is_one_error(
    tmp_path: Path, name: str, content: bytes | None, error: type[CalveError]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error):
        inspect_file(tmp_path / name)


def test_a_folder_that_is_no_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        inspect_file(tmp_path)


def test_a_format_that_fails_in_any_way_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspect(path: Path) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr("calve_onnx.inspection.inspect", inspect)
    (tmp_path / "a.txt").write_text("<blk> 0\n")
    with pytest.raises(PluginError, match="format onnx cannot inspect the file: RecursionError"):
        inspection.inspect_file(tmp_path / "a.txt")
