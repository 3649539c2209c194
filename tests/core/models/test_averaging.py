"""Averaging by icefall's rules, to the last bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from calve.common.files import file_sha256
from calve.errors import CheckpointError, ConfigError
from calve.models import checkpoints
from calve.models.averaging import (
    average_checkpoints,
    average_checkpoints_with_averaged_model,
    find_checkpoints,
)
from calve.models.checkpoint_files import read_checkpoint
from calve.models.checkpoints import CheckpointChoice, load_state_dict

CHOICES: dict[str, dict[str, Any]] = {
    "epoch4_avg3": {"epoch": 4, "avg": 3},
    "iter300_avg2": {"iter": 300, "avg": 2},
    "epoch4_avg3_averaged_model": {"epoch": 4, "avg": 3, "use_averaged_model": True},
    "iter400_avg2_averaged_model": {"iter": 400, "avg": 2, "use_averaged_model": True},
}


@pytest.fixture(scope="module")
def exp_dir(goldens: Path) -> Path:
    return goldens / "averaging"


@pytest.fixture(scope="module")
def results(exp_dir: Path) -> dict[str, Any]:
    return torch.load(exp_dir / "results.pt", weights_only=True)


def assert_same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(actual[key], value), key


def test_every_golden_average_is_tested(results: dict[str, Any]) -> None:
    assert set(results) == {*CHOICES, "find_checkpoints"}


@pytest.mark.parametrize("name", CHOICES)
def test_functions_average_as_icefalls(exp_dir: Path, results: dict[str, Any], name: str) -> None:
    case = results[name]
    paths = [exp_dir / file for file in case["files"]]
    averaged = (
        average_checkpoints_with_averaged_model(*paths)
        if "averaged_model" in name
        else average_checkpoints(paths)
    )
    assert_same(averaged, case["state_dict"])


@pytest.mark.parametrize("name", CHOICES)
def test_options_choose_and_average_as_icefalls(
    exp_dir: Path, results: dict[str, Any], name: str
) -> None:
    loaded = load_state_dict(CheckpointChoice(exp_dir=exp_dir, **CHOICES[name]))
    assert_same(loaded.state_dict, results[name]["state_dict"])
    used = [file["name"] for file in loaded.provenance["files"]]
    assert used == results[name]["files"]
    newest = max(used, key=lambda file: int(file.split("-")[1][:-3]))
    saved = torch.load(exp_dir / newest, weights_only=True)
    assert loaded.entries["batch_idx_train"] == saved["batch_idx_train"]


def test_find_checkpoints_lists_by_iteration(exp_dir: Path, results: dict[str, Any]) -> None:
    for iteration, names in results["find_checkpoints"].items():
        assert [path.name for path in find_checkpoints(exp_dir, int(iteration))] == names


def test_find_checkpoints_ignores_other_names(tmp_path: Path) -> None:
    for name in ("checkpoint-9.pt", "checkpoint-10.pt", "checkpoint-x.pt", "checkpoint-3.pt.tmp"):
        (tmp_path / name).touch()
    assert [path.name for path in find_checkpoints(tmp_path)] == [
        "checkpoint-10.pt",
        "checkpoint-9.pt",
    ]


def test_averaging_leaves_the_files_as_they_are(exp_dir: Path, tmp_path: Path) -> None:
    paths = [shutil.copy(exp_dir / f"epoch-{epoch}.pt", tmp_path) for epoch in (1, 2)]
    before = [Path(path).read_bytes() for path in paths]
    average_checkpoints(paths)
    average_checkpoints_with_averaged_model(*paths)
    assert [Path(path).read_bytes() for path in paths] == before


def saved(path: Path, state: dict[str, torch.Tensor], **entries: Any) -> Path:
    torch.save({"model": state, **entries}, path)
    return path


def test_integer_entries_are_divided_rounding_down(tmp_path: Path) -> None:
    paths = [
        saved(tmp_path / f"{n}.pt", {"count": torch.tensor(n), "w": torch.tensor(float(n))})
        for n in (1, 2, 5)
    ]
    averaged = average_checkpoints(paths)
    assert averaged["count"].item() == 2
    assert averaged["count"].dtype == torch.int64
    assert averaged["w"].item() == pytest.approx(8 / 3)


def test_masks_are_those_of_the_newest_checkpoint(tmp_path: Path) -> None:
    masks = {9: [True, True], 10: [False, True], 8: [True, False]}
    paths = [
        saved(
            tmp_path / f"checkpoint-{n}.pt",
            {"mask": torch.tensor(mask), "w": torch.tensor(float(n))},
        )
        for n, mask in masks.items()
    ]
    averaged = average_checkpoints(paths)
    assert averaged["mask"].tolist() == [False, True]
    assert averaged["mask"].dtype == torch.bool
    assert averaged["w"].item() == 9


def test_masks_of_a_running_average_are_those_of_the_end(tmp_path: Path) -> None:
    paths = [
        saved(
            tmp_path / f"{batch}.pt",
            {"w": torch.tensor(0.0)},
            model_avg={"mask": torch.tensor([batch == 20, True]), "w": torch.tensor(1.0)},
            average_period=10,
            batch_idx_train=batch,
        )
        for batch in (20, 40)
    ]
    assert average_checkpoints_with_averaged_model(*paths)["mask"].tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.float16, torch.bfloat16])
def test_a_sum_does_not_overflow(tmp_path: Path, dtype: torch.dtype) -> None:
    largest = torch.tensor(100 if dtype == torch.int8 else 200).to(dtype)
    if dtype == torch.float16:
        largest = torch.tensor(60000.0, dtype=dtype)
    paths = [saved(tmp_path / f"{n}.pt", {"x": largest}) for n in (1, 2, 3)]
    averaged = average_checkpoints(paths)
    assert averaged["x"].dtype == dtype
    assert torch.equal(averaged["x"], largest)


def test_each_file_is_read_and_hashed_once(exp_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, hashed = counted(monkeypatch)
    for choice in CHOICES.values():
        read.clear()
        hashed.clear()
        loaded = load_state_dict(CheckpointChoice(exp_dir=exp_dir, **choice))
        files = sorted(file["name"] for file in loaded.provenance["files"])
        assert sorted(read) == sorted(hashed) == files


def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Names of the checkpoints that are read and hashed from now on."""
    read: list[str] = []
    hashed: list[str] = []

    def reading(path: Path) -> Any:
        read.append(Path(path).name)
        return read_checkpoint(path)

    def hashing(path: Path) -> str:
        hashed.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(checkpoints, "read_checkpoint", reading)
    monkeypatch.setattr(checkpoints, "checkpoint_sha256", hashing)
    return read, hashed


def test_integer_entries_of_a_running_average_are_those_of_the_end(tmp_path: Path) -> None:
    paths = [
        saved(
            tmp_path / f"{batch}.pt",
            {"w": torch.tensor(0.0)},
            model_avg={"count": torch.tensor(batch), "w": torch.tensor(float(batch))},
            average_period=10,
            batch_idx_train=batch,
        )
        for batch in (20, 40)
    ]
    averaged = average_checkpoints_with_averaged_model(*paths)
    assert averaged["count"].item() == 40
    assert averaged["w"].item() == (40 * 40 - 20 * 20) / 20


def test_a_checkpoint_without_running_average_is_named(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"epoch-{n}.pt", {"w": torch.zeros(1)}) for n in (1, 2)]
    with pytest.raises(CheckpointError, match=r"(?s)model_avg.*epoch-1\.pt.*averaged-model 0"):
        average_checkpoints_with_averaged_model(*paths)


def test_the_end_must_be_later_than_the_start(exp_dir: Path) -> None:
    with pytest.raises(CheckpointError, match=r"batch 400 .* and batch 100"):
        average_checkpoints_with_averaged_model(
            exp_dir / "checkpoint-400.pt", exp_dir / "checkpoint-100.pt"
        )


@pytest.mark.parametrize(
    "other",
    [
        {"v": torch.zeros(2)},
        {"w": torch.zeros(3)},
        {"w": torch.zeros(2, dtype=torch.int64)},
        {"w": torch.zeros(2, dtype=torch.bool)},
    ],
)
def test_different_models_are_not_averaged(tmp_path: Path, other: dict[str, Any]) -> None:
    paths = [saved(tmp_path / "a.pt", {"w": torch.zeros(2)}), saved(tmp_path / "b.pt", other)]
    with pytest.raises(CheckpointError, match=r"a\.pt and b\.pt hold different models"):
        average_checkpoints(paths)


def test_parameters_are_averaged_like_plain_tensors(tmp_path: Path) -> None:
    for epoch in (1, 2):
        weights = {"w": torch.nn.Parameter(torch.full((2,), float(epoch)))}
        saved(tmp_path / f"epoch-{epoch}.pt", weights)
    found = average_checkpoints([tmp_path / "epoch-1.pt", tmp_path / "epoch-2.pt"])
    assert found["w"].tolist() == [1.5, 1.5]
    assert not found["w"].requires_grad


@pytest.mark.parametrize("average_period", [None, 0, "50", True, 2**70])
def test_a_period_that_cannot_be_is_named(tmp_path: Path, average_period: Any) -> None:
    state = {"w": torch.zeros(1)}
    paths = [
        saved(
            tmp_path / f"{n}.pt",
            state,
            model_avg=state,
            average_period=average_period,
            batch_idx_train=n,
        )
        for n in (100, 200)
    ]
    with pytest.raises(CheckpointError, match="average_period"):
        average_checkpoints_with_averaged_model(*paths)


def test_missing_epochs_are_listed_beside_what_exists(exp_dir: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"(?s)missing: epoch-5\.pt, epoch-6\.pt.*epoch-1\.pt"
    ):
        load_state_dict(CheckpointChoice(exp_dir=exp_dir, epoch=6, avg=3))


def test_epochs_before_the_first_are_left_out_of_a_mean(exp_dir: Path) -> None:
    loaded = load_state_dict(CheckpointChoice(exp_dir=exp_dir, epoch=2, avg=9))
    assert [file["name"] for file in loaded.provenance["files"]] == ["epoch-1.pt", "epoch-2.pt"]


def test_epochs_before_the_first_are_an_error_with_the_averaged_model(exp_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)epoch-0\.pt.*--avg 3 at most"):
        load_state_dict(CheckpointChoice(exp_dir=exp_dir, epoch=4, avg=4, use_averaged_model=True))


@pytest.mark.parametrize(("avg", "averaged_model", "needed"), [(5, False, 5), (4, True, 5)])
def test_too_few_iterations_say_how_many_there_are(
    exp_dir: Path, avg: int, averaged_model: bool, needed: int
) -> None:
    choice = CheckpointChoice(exp_dir=exp_dir, iter=400, avg=avg, use_averaged_model=averaged_model)
    with pytest.raises(CheckpointError, match=rf"needs {needed} checkpoints.*there are 4"):
        load_state_dict(choice)


def test_an_iteration_between_two_checkpoints_takes_the_earlier(exp_dir: Path) -> None:
    loaded = load_state_dict(CheckpointChoice(exp_dir=exp_dir, iter=350))
    assert [file["name"] for file in loaded.provenance["files"]] == ["checkpoint-300.pt"]


def test_one_epoch_is_that_epochs_model(exp_dir: Path) -> None:
    loaded = load_state_dict(CheckpointChoice(exp_dir=exp_dir, epoch=3, avg=1))
    assert_same(loaded.state_dict, torch.load(exp_dir / "epoch-3.pt", weights_only=True)["model"])
    assert loaded.provenance["averaging"] == "none"
