"""What may lie beside the weights in a checkpoint, and what may not."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
import types
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch

from calve.errors import CheckpointError
from calve.models.checkpoint_files import read_checkpoint, save_model

_TIME = datetime.datetime(2022, 4, 9, 12, 30, tzinfo=datetime.timezone.utc)


def read_back(value: Any, folder: Path, *, legacy: bool = False) -> Any:
    """``value`` as an entry of a checkpoint that is saved and read."""
    content = {"model": {"w": torch.ones(1)}, "entry": value}
    torch.save(content, folder / "a.pt", _use_new_zipfile_serialization=not legacy)
    return read_checkpoint(folder / "a.pt")["entry"]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("saved", "read"),
    [
        (torch.torch_version.TorchVersion("1.12.1+cu113"), "1.12.1+cu113"),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.uint8(255), 255),
        (np.int32(-3).astype(">i4"), -3),
        (np.bool_(True), True),
        (np.complex64(1 + 2j), 1 + 2j),
        (np.str_("Ångström"), "Ångström"),
        (argparse.Namespace(lr=0.003, words=["a"]), {"lr": 0.003, "words": ["a"]}),
        (types.SimpleNamespace(depth=2), {"depth": 2}),
        (argparse.Namespace(inner=argparse.Namespace(n=np.int64(1))), {"inner": {"n": 1}}),
        (collections.OrderedDict(a=1), collections.OrderedDict(a=1)),
        (collections.defaultdict(list, {"a": [np.float64(1)]}), {"a": [1.0]}),
        (collections.Counter("aab"), collections.Counter("aab")),
        (frozenset([1, 2]), frozenset([1, 2])),
        ({"type": int}, {"type": "int"}),
        (torch.Size([2, 3]), torch.Size([2, 3])),
        (torch.float16, torch.float16),
        (torch.device("cpu"), torch.device("cpu")),
        (_TIME, _TIME),
        (_TIME.date(), _TIME.date()),
        (datetime.timedelta(seconds=90), datetime.timedelta(seconds=90)),
        (pathlib.PurePosixPath("exp/a"), PurePosixPath("exp/a")),
        (pathlib.PureWindowsPath("C:/exp"), PureWindowsPath("C:/exp")),
        ((np.int64(1), (np.int64(2),)), (1, (2,))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_harmless_bystander_is_read_as_a_plain_value(
    tmp_path: Path, saved: Any, read: Any, legacy: bool
) -> None:
    found = read_back(saved, tmp_path, legacy=legacy)
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["float32", ">f8", "int16", "bool"])
def test_an_array_of_numpy_becomes_a_tensor(tmp_path: Path, kind: str, order: Any) -> None:
    array = np.array([[1, 0, 3], [0, 5, 6]], order=order).astype(kind)
    found = read_back(array, tmp_path)
    assert torch.equal(found, torch.from_numpy(array.astype(array.dtype.newbyteorder("="))))


def test_an_array_of_text_becomes_lists(tmp_path: Path) -> None:
    assert read_back(np.array(["a", "bc"]), tmp_path) == ["a", "bc"]


def test_a_container_that_is_shared_stays_shared(tmp_path: Path) -> None:
    shared = [np.int64(1)]
    found = read_back({"one": shared, "other": shared}, tmp_path)
    assert found["one"] is found["other"]
    assert found["one"] == [1]


def test_what_nests_itself_many_times_is_read_in_no_time(tmp_path: Path) -> None:
    nested: Any = [np.int64(1)]
    for _ in range(60):
        nested = (nested, nested)
    found = read_back(nested, tmp_path)
    while isinstance(found, tuple):
        found = found[0]
    assert found == [1]


class Recipe:
    """A class of somebody's program."""


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Recipe(), r"test_safe_unpickling\.Recipe"),
        (np.array([Path()], dtype=object), r"numpy\.dtype|numpy\.ndarray"),
        (np.datetime64("2022-04-09"), r"numpy\.dtype"),
        (np.random.default_rng(0), "numpy"),
        (torch.nn.Linear(1, 1), r"torch\.nn"),
        (argparse.Namespace(inner=Recipe()), r"Recipe"),
        (print, "print"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_refused_by_name(tmp_path: Path, value: Any, name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"would run code \(.*({name})") as caught:
        read_back(value, tmp_path)
    assert "weights_only=False" in str(caught.value.fix)


def test_what_was_read_is_saved_and_read_again(tmp_path: Path) -> None:
    entries = {
        "lr": np.float64(0.1),
        "params": argparse.Namespace(words=collections.defaultdict(int, a=1), when=_TIME),
        "dirs": [pathlib.PurePosixPath("exp")],
        "types": {"a": int},
    }
    read = {name: read_back(value, tmp_path) for name, value in entries.items()}
    save_model(tmp_path / "b.pt", {"w": torch.ones(1)}, read)
    again = read_checkpoint(tmp_path / "b.pt")
    assert {name: again[name] for name in read} == read


class AttributeDict(dict[str, Any]):
    """As icefall's: a dictionary whose keys are also attributes."""

    __getattr__ = dict.__getitem__


@pytest.mark.parametrize(
    ("value", "saved_as", "written_as", "read"),
    [
        (np.int64(7), "numpy._core.multiarray", "numpy.core.multiarray", 7),
        (Path("exp"), "pathlib\nPosixPath", "pathlib._local\nPosixPath", PurePosixPath("exp")),
        (Path("exp"), "pathlib\nPosixPath", "pathlib\nWindowsPath", PureWindowsPath("exp")),
        (
            AttributeDict(lr=np.float64(0.5), dirs={"exp": Path("exp")}),
            f"{__name__}\nAttributeDict",
            "icefall.utils\nAttributeDict",
            {"lr": 0.5, "dirs": {"exp": PurePosixPath("exp")}},
        ),
    ],
    ids=["older numpy", "newer Python", "Windows", "icefall"],
)
def test_the_names_of_other_versions_and_systems_are_known(
    tmp_path: Path, value: Any, saved_as: str, written_as: str, read: Any
) -> None:
    content = {"model": {"w": torch.ones(1)}, "entry": value}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    written = (tmp_path / "a.pt").read_bytes()
    assert saved_as.encode() in written
    (tmp_path / "a.pt").write_bytes(written.replace(saved_as.encode(), written_as.encode()))
    found = read_checkpoint(tmp_path / "a.pt")["entry"]
    assert found == read
    assert type(found) is type(read)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("seen", "hostile"),
    [
        (b"numpy\ndtype", b"builtins\neval"),
        (b"numpy\ndtype", b"os\nsystem"),
        (b"numpy\ndtype", b"builtins\nint"),
        (b"numpy\ndtype", b"argparse\nNamespace"),
        (b"f8", b"O8"),
        (b"f8", b"V8"),
    ],
)
def test_a_manipulated_scalar_is_refused(tmp_path: Path, seen: bytes, hostile: bytes) -> None:
    content = {"model": {"w": torch.ones(1)}, "entry": np.float64(1)}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    written = (tmp_path / "a.pt").read_bytes()
    assert seen in written
    (tmp_path / "a.pt").write_bytes(written.replace(seen, hostile))
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "a.pt")
