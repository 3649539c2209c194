"""Reading and writing checkpoint files, above all bad ones."""

from __future__ import annotations

import errno
import pathlib
import pickle
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calve.common.files import atomic_dir
from calve.errors import CalveError, CheckpointError, ConfigError
from calve.models.checkpoint_files import model_state
from calve.models.checkpoints import (
    CheckpointChoice,
    load_state_dict,
    read_checkpoint,
    save_checkpoint,
)

GOLDEN = "lstm_transducer_stateless2.ckpt.pt"


@pytest.fixture(scope="module")
def golden(goldens: Path) -> Path:
    return goldens / GOLDEN


def load(path: Path | str) -> Any:
    return load_state_dict(CheckpointChoice(checkpoint=str(path)))


class Bomb:
    """Touches a file when it is unpickled by a reader that is not careful."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def test_icefalls_checkpoint_loads(golden: Path) -> None:
    loaded = load(golden)
    expected = torch.load(golden, weights_only=True)["model"]
    assert list(loaded.state_dict) == list(expected)
    assert all(torch.equal(loaded.state_dict[key], value) for key, value in expected.items())
    assert loaded.entries["batch_idx_train"] == 1234
    assert not {"model", "optimizer", "sampler"} & set(loaded.entries)
    (file,) = loaded.provenance["files"]
    assert file["name"] == GOLDEN
    assert len(file["sha256"]) == 64


@pytest.mark.parametrize("legacy", [False, True])
def test_a_posix_path_among_the_parameters_loads(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "epoch-1.pt"
    content = {"model": {"w": torch.ones(2)}, "exp_dir": pathlib.PosixPath("lstm/exp")}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    loaded = load(path)
    assert str(loaded.entries["exp_dir"]) == "lstm/exp"
    assert torch.equal(loaded.state_dict["w"], torch.ones(2))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_bare_state_dict_loads(tmp_path: Path, wrapped: bool) -> None:
    state = {"w": torch.ones(2)}
    torch.save({"model": state} if wrapped else state, tmp_path / "pretrained.pt")
    assert torch.equal(load(tmp_path / "pretrained.pt").state_dict["w"], torch.ones(2))


def test_the_prefix_of_distributed_training_is_removed(tmp_path: Path) -> None:
    torch.save({"model": {"module.w": torch.ones(1)}}, tmp_path / "a.pt")
    assert list(load(tmp_path / "a.pt").state_dict) == ["w"]


def test_overwriting_the_file_does_not_change_what_was_loaded(golden: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(golden, tmp_path / "epoch-1.pt"))
    loaded = load(path)
    path.write_bytes(b"")
    assert all(tensor.isfinite().all() for tensor in loaded.state_dict.values())


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("key", ["model", "exp_dir"])
def test_code_in_a_checkpoint_is_refused_and_not_run(
    tmp_path: Path, key: str, legacy: bool
) -> None:
    content = {"model": {"w": torch.ones(1)}, key: Bomb(tmp_path / "exploded")}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="would run code"):
        load(tmp_path / "a.pt")
    assert not (tmp_path / "exploded").exists()


def test_code_in_a_plain_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded"), protocol=2))
    with pytest.raises(CheckpointError):
        load(tmp_path / "a.pt")
    assert not (tmp_path / "exploded").exists()


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"would run code \(torch\.nn"):
        load(tmp_path / "a.pt")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.0, 0.999))
def test_a_truncated_checkpoint_is_an_error_naming_the_file(golden: Path, share: float) -> None:
    whole = golden.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "epoch-1.pt"
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match=r"epoch-1\.pt"):
            load(path)


@settings(max_examples=40)
@given(content=st.binary(min_size=1, max_size=200))
def test_a_foreign_file_is_an_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pt"
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "no checkpoint"),
        (b"PK\x03\x04 and nothing else", "no checkpoint"),
    ],
)
def test_what_a_wrong_file_is(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_model_is_called_so(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "cpu_jit.pt"))
    with pytest.raises(CheckpointError, match="TorchScript model, not a checkpoint"):
        load(tmp_path / "cpu_jit.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "holds a list"),
        ({}, "no model"),
        ({"optimizer": {"lr": 1.0}}, "this one has optimizer"),
        ({"model": None}, "no model"),
        ({"model": {1: torch.ones(1)}}, "no model"),
    ],
)
def test_a_file_without_a_model_says_what_it_has(
    tmp_path: Path, content: Any, message: str
) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "a.pt")


def test_a_missing_file_suggests_a_near_name(tmp_path: Path) -> None:
    (tmp_path / "epoch-30.pt").touch()
    with pytest.raises(CheckpointError, match=r"did you mean 'epoch-30\.pt'"):
        load(tmp_path / "epoch30.pt")


def test_a_link_that_leads_nowhere_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "epoch-99.pt").symlink_to("exp/pretrained.pt")
    choices = (
        CheckpointChoice(checkpoint=str(tmp_path / "epoch-99.pt")),
        CheckpointChoice(exp_dir=tmp_path, epoch=99),
    )
    for choice in choices:
        with pytest.raises(CheckpointError, match=r"a link that points to exp/pretrained\.pt"):
            load_state_dict(choice)


def saved_epochs(folder: Path, *epochs: int) -> None:
    for epoch in epochs:
        average = {"w": torch.tensor([float(epoch)])}
        numbers = {"average_period": 1, "batch_idx_train": epoch + 1}
        content = {"model": {"w": torch.tensor([float(epoch)])}, "model_avg": average, **numbers}
        torch.save(content, folder / f"epoch-{epoch}.pt")


def test_epochs_may_count_from_0(tmp_path: Path) -> None:
    saved_epochs(tmp_path, 0, 1, 2)
    means = {(0, 1): 0.0, (1, 2): 0.5, (2, 3): 1.0, (2, 5): 1.0}
    for (epoch, avg), mean in means.items():
        choice = CheckpointChoice(exp_dir=tmp_path, epoch=epoch, avg=avg)
        assert load_state_dict(choice).state_dict["w"].item() == mean
    choice = CheckpointChoice(exp_dir=tmp_path, epoch=2, avg=2, use_averaged_model=True)
    assert load_state_dict(choice).state_dict["w"].item() == 2 * 3 / 2 - 0
    with pytest.raises(ConfigError, match=r"(?s)needs epoch--1\.pt.*from 0.*--avg 2 at most"):
        load_state_dict(CheckpointChoice(exp_dir=tmp_path, epoch=2, avg=3, use_averaged_model=True))


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("epoch", "avg"), [(10**12, 10**12), (10**18, 1), (10**300, 10**300), (-5, 3), (2, 10**15)]
)
def test_numbers_without_a_file_are_an_error_at_once(tmp_path: Path, epoch: int, avg: int) -> None:
    saved_epochs(tmp_path, 2)
    with pytest.raises(CheckpointError, match=r"missing: epoch-"):
        load_state_dict(CheckpointChoice(exp_dir=tmp_path, epoch=epoch, avg=avg))


def test_epochs_count_from_1_where_there_is_no_epoch_0(tmp_path: Path) -> None:
    saved_epochs(tmp_path, 1, 2)
    choice = CheckpointChoice(exp_dir=tmp_path, epoch=2, avg=5)
    assert load_state_dict(choice).state_dict["w"].item() == 1.5
    with pytest.raises(CheckpointError, match=r"(?s)missing: epoch-0\.pt.*epoch-1\.pt, epoch-2"):
        load_state_dict(CheckpointChoice(exp_dir=tmp_path, epoch=0))


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="--exp-dir"):
        load(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        load_state_dict(CheckpointChoice(exp_dir=tmp_path / "nowhere", epoch=1))


def test_an_unknown_builtin_is_an_error() -> None:
    with pytest.raises(ConfigError, match="there is no checkpoint 'builtin:nothing'"):
        load("builtin:nothing")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no checkpoint was given"),
        ({"checkpoint": "a.pt", "exp_dir": "exp", "epoch": 3}, "--exp-dir, --epoch"),
        ({"checkpoint": "a.pt", "use_averaged_model": True}, "--use-averaged-model"),
        ({"exp_dir": "exp", "epoch": 3, "avg": 0}, "at least 1"),
    ],
)
def test_an_impossible_choice_names_its_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CheckpointChoice(**options)


def test_averaging_nothing_goes_with_a_single_file(golden: Path) -> None:
    choice = CheckpointChoice(checkpoint=str(golden), avg=1, use_averaged_model=False)
    assert load_state_dict(choice).provenance["averaging"] == "none"


def test_a_folder_without_epoch_says_what_there_is(tmp_path: Path) -> None:
    for name in ("epoch-10.pt", "epoch-9.pt"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"(?s)--epoch or --iter.*epoch-9\.pt, epoch-10\.pt"):
        load_state_dict(CheckpointChoice(exp_dir=tmp_path))


def test_a_saved_checkpoint_has_icefalls_entries_and_reads_back(tmp_path: Path) -> None:
    model, average = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3).double()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    params = {"batch_idx_train": 7, "best_valid_loss": float("inf"), "exp_dir": Path("exp")}
    save_checkpoint(
        tmp_path / "epoch-1.pt", model=model, model_avg=average, optimizer=optimizer, params=params
    )

    content = read_checkpoint(tmp_path / "epoch-1.pt")
    assert {"model", "model_avg", "optimizer", "scheduler", "grad_scaler", "sampler"} <= set(
        content
    )
    assert content["scheduler"] is None
    assert {tensor.dtype for tensor in content["model_avg"].values()} == {torch.float32}
    assert content["batch_idx_train"] == 7
    assert content["exp_dir"] == "exp"
    state = model_state(content, "epoch-1.pt")
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    restored = torch.optim.Adam(model.parameters())
    restored.load_state_dict(content["optimizer"])
    # What a mapped file gives must be writable: training goes on with it.
    restored.step()


def test_a_failed_save_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "epoch-1.pt"
    save_checkpoint(path, model=torch.nn.Linear(2, 2))
    before = path.read_bytes()
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        save_checkpoint(path, model=torch.nn.Linear(2, 2), params={"bad": lambda: None})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_training_parameter_never_replaces_a_state(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="name of a state: optimizer"):
        save_checkpoint(
            tmp_path / "epoch-1.pt", model=torch.nn.Linear(2, 2), params={"optimizer": "eve"}
        )
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="file size limits are POSIX only")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(CalveError):
            save_checkpoint(tmp_path / "epoch-1.pt", model=torch.nn.Linear(300, 300))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def fail_while_reading(*arguments: object, **options: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("reader", ["torch.load", "calve.common.files.hashlib.sha256"])
def test_a_checkpoint_that_fails_while_it_is_read_is_named(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """Also where an output is being written, which is not to blame."""
    monkeypatch.setattr(reader, fail_while_reading)
    with (
        pytest.raises(CheckpointError, match="cannot read the file: Input/output error") as caught,
        atomic_dir(tmp_path / "bundle"),
    ):
        load(golden)
    assert caught.value.where == str(golden)
    assert list(tmp_path.iterdir()) == []


def test_the_reason_why_safetensors_cannot_be_read_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")

    def fail(*arguments: object, **options: object) -> None:
        raise OSError("No such device (os error 19)")  # as safetensors raises it, without a number

    monkeypatch.setattr("safetensors.safe_open", fail)
    with pytest.raises(CheckpointError, match="cannot read the file: No such device"):
        load(path)
