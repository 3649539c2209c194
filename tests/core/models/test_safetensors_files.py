"""Weights in the format safetensors."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from calve.cli.application import run
from calve.errors import CheckpointError
from calve.models.checkpoints import CheckpointChoice, load_state_dict
from calve.models.loading import load, recipe_of

RECIPE = "lstm_transducer_stateless2"


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["model"]
    return state


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_it_is_known_by_its_content(golden_checkpoint: Path, tmp_path: Path, name: str) -> None:
    save_file(weights(golden_checkpoint), tmp_path / name)
    loaded = load(RECIPE, tmp_path / name)
    expected = load(RECIPE, golden_checkpoint)
    assert loaded.config == expected.config
    for key, tensor in expected.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], tensor), key


@pytest.mark.usefixtures("bundled_plugins")
def test_half_precision_is_read(golden_checkpoint: Path, tmp_path: Path) -> None:
    state = {key: value.bfloat16() for key, value in weights(golden_checkpoint).items()}
    save_file(state, tmp_path / "model.safetensors")
    model = load(RECIPE, tmp_path / "model.safetensors").model
    assert torch.equal(model.joiner.output_linear.bias, state["joiner.output_linear.bias"].float())


def test_average_writes_it_with_the_training_parameters(
    golden_checkpoint: Path, tmp_path: Path
) -> None:
    output = tmp_path / "model.safetensors"
    arguments = ["average", "--checkpoint", str(golden_checkpoint), "--output", str(output)]
    assert run(arguments) == 0
    assert load_file(output).keys() == weights(golden_checkpoint).keys()
    written = load_state_dict(CheckpointChoice(checkpoint=str(output)))
    original = load_state_dict(CheckpointChoice(checkpoint=str(golden_checkpoint)))
    assert all(torch.equal(written.state_dict[k], v) for k, v in original.state_dict.items())
    assert written.entries["batch_idx_train"] == 1234
    file, *_ = written.entries["provenance"]["files"]
    assert file["name"] == golden_checkpoint.name


def test_the_recipe_in_its_metadata_is_found(golden_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(weights(golden_checkpoint), path, metadata={"recipe": RECIPE, "format": "pt"})
    assert recipe_of(load_state_dict(CheckpointChoice(checkpoint=str(path)))) == RECIPE


@pytest.mark.usefixtures("bundled_plugins")
def test_a_damaged_file_is_called_so(golden_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(weights(golden_checkpoint), path)
    whole = path.read_bytes()
    lengths = struct.unpack("<Q", whole[:8])[0]
    for size in (9, 8 + lengths // 2, 8 + lengths, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="safetensors file is damaged"):
            load(RECIPE, path)
