"""Entries of a state_dict: prefixes of wrappers, tensors that are no weights, NaN."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from calve.errors import CheckpointError
from calve.models.checkpoints import CheckpointChoice, load_state_dict
from calve.models.loading import load

RECIPE = "lstm_transducer_stateless2"


def read(path: Path) -> dict[str, torch.Tensor]:
    return load_state_dict(CheckpointChoice(checkpoint=str(path))).state_dict


@pytest.fixture(scope="module")
def state(golden_checkpoint: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(golden_checkpoint, weights_only=True)["model"])


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize("entry", ["model", "state_dict", None])
@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.",
        "model._orig_mod.",
    ],
)
def test_the_prefix_of_a_wrapper_is_removed(
    tmp_path: Path, state: dict[str, torch.Tensor], prefix: str, entry: str | None
) -> None:
    wrapped = {prefix + key: value for key, value in state.items()}
    torch.save({entry: wrapped} if entry else wrapped, tmp_path / "a.pt")
    assert list(read(tmp_path / "a.pt")) == list(state)
    assert load(RECIPE, tmp_path / "a.pt").config["encoder"].num_encoder_layers == 3


def test_a_module_that_was_compiled_inside_a_model_is_found(tmp_path: Path) -> None:
    torch.save({"encoder._orig_mod.layers.0.w": torch.ones(1)}, tmp_path / "a.pt")
    assert list(read(tmp_path / "a.pt")) == ["encoder.layers.0.w"]


def test_a_lightning_checkpoint_is_read_without_its_other_modules(
    tmp_path: Path, state: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    lightning = {f"model.{key}": value for key, value in state.items()}
    content = {
        "state_dict": lightning | {"accuracy.total": torch.ones(1)},
        "epoch": 3,
        "optimizer_states": [{}],
        "hyper_parameters": {"lr": 0.1},
    }
    torch.save(content, tmp_path / "a.ckpt")
    loaded = load_state_dict(CheckpointChoice(checkpoint=str(tmp_path / "a.ckpt")))
    assert list(loaded.state_dict) == list(state)
    assert loaded.entries == {"epoch": 3, "hyper_parameters": {"lr": 0.1}}
    (message,) = caplog.messages
    assert message.endswith("left out 1 entries that are not of 'model'")


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    torch.save({"encoder.w": torch.ones(1), "module.encoder.w": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"both called encoder\.w"):
        read(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (torch.ones(2, 2).to_sparse(), "stored as torch.sparse_coo"),
        (torch.empty(2, device="meta"), "has no content"),
        (torch.ones(2, dtype=torch.complex64), "complex numbers"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "is quantized"),
        (torch.ones(2).to(torch.float8_e4m3fn), "holds numbers of the type torch.float8_e4m3fn"),
        (torch.zeros(2, dtype=torch.uint16), "holds numbers of the type torch.uint16"),
        (torch.ones(2, 2).to_sparse_csr(), "stored as torch.sparse_csr"),
        (torch.ones(1).expand(2**40), f"has {2**40} elements, more than the file holds"),
    ],
    ids=["sparse", "meta", "complex", "quantized", "float8", "uint16", "sparse csr", "stride 0"],
)
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_that_cannot_be_a_weight_is_named(
    tmp_path: Path, tensor: Any, problem: str
) -> None:
    torch.save({"model": {"encoder.w": tensor}}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=rf"entry encoder\.w .*{problem}"):
        read(tmp_path / "a.pt")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_weights_of_a_diverged_training_are_named(tmp_path: Path, number: float) -> None:
    weight = torch.ones(3)
    weight[1] = number
    state = {"encoder.a": torch.ones(2), "encoder.b": weight, "encoder.c": weight}
    torch.save({"model": state}, tmp_path / "a.pt")
    with pytest.raises(
        CheckpointError, match=r"(?s)encoder\.b and 1 more entries hold NaN.*a\.pt.*diverged"
    ):
        read(tmp_path / "a.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_weights_are_no_infinity(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {"w": torch.full((4,), torch.finfo(dtype).max, dtype=dtype)}
    torch.save({"model": state}, tmp_path / "a.pt")
    assert torch.equal(read(tmp_path / "a.pt")["w"], state["w"])


def test_one_bad_checkpoint_of_an_average_is_named(tmp_path: Path) -> None:
    for epoch in (1, 2):
        state = {"w": torch.tensor([1.0 if epoch == 1 else math.nan])}
        torch.save({"model": state}, tmp_path / f"epoch-{epoch}.pt")
    with pytest.raises(CheckpointError, match=r"(?s)w holds NaN.*epoch-2\.pt"):
        load_state_dict(CheckpointChoice(exp_dir=tmp_path, epoch=2, avg=2))


def test_a_running_average_is_looked_at_too(tmp_path: Path) -> None:
    for epoch in (1, 2):
        average = {"w": torch.tensor([math.nan])}
        numbers = {"average_period": 1, "batch_idx_train": epoch}
        content = {"model": {"w": torch.ones(1)}, "model_avg": average, **numbers}
        torch.save(content, tmp_path / f"epoch-{epoch}.pt")
    choice = CheckpointChoice(exp_dir=tmp_path, epoch=2, avg=1, use_averaged_model=True)
    with pytest.raises(CheckpointError, match="w holds NaN"):
        load_state_dict(choice)


def test_a_mask_may_hold_minus_infinity(tmp_path: Path) -> None:
    mask = torch.tensor([0.0, -math.inf])
    torch.save({"model": {"encoder.mask": mask}}, tmp_path / "a.pt")
    assert torch.equal(read(tmp_path / "a.pt")["encoder.mask"], mask)
