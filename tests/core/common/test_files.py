"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from calve.common.files import (
    atomic_dir,
    atomic_file,
    check_writable,
    file_sha256,
    scratch_folder,
    writing_explained,
)
from calve.common.renaming import rename_new
from calve.errors import CalveError, ConfigError

EXCEPTIONS = [RuntimeError("x"), KeyboardInterrupt(), SystemExit(1)]


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _fail_halfway(writing, exception):
    """Write something into what ``writing`` yields, then raise."""
    with writing as temporary:
        path = temporary / "half" if temporary.is_dir() else temporary
        path.write_bytes(b"half")
        raise exception


def _enter(writing):
    with writing:
        pytest.fail("the block must not run")


def test_a_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "model.bin"
    with atomic_file(target) as temporary:
        temporary.write_bytes(b"whole")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.suffix == ".bin"
    assert target.read_bytes() == b"whole"
    assert _names(target.parent) == ["model.bin"]


@pytest.mark.parametrize("exception", EXCEPTIONS)
def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path, exception):
    target = tmp_path / "model.bin"
    target.write_bytes(b"older")
    with pytest.raises(type(exception)):
        _fail_halfway(atomic_file(target), exception)
    assert target.read_bytes() == b"older"
    assert _names(tmp_path) == ["model.bin"]


def test_an_existing_file_is_refused_when_it_may_not_be_overwritten(tmp_path):
    target = tmp_path / "model.bin"
    target.write_bytes(b"older")
    with pytest.raises(ConfigError, match=r"(?s)exists already.*model\.bin.*--overwrite"):
        _enter(atomic_file(target, overwrite=False))
    assert target.read_bytes() == b"older"


def test_a_directory_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "deep" / "bundle"
    with atomic_dir(target) as temporary:
        (temporary / "a").write_text("a")
        assert not target.exists()
    assert _names(target) == ["a"]
    assert _names(target.parent) == ["bundle"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o777 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("exception", EXCEPTIONS)
def test_a_failure_leaves_the_older_directory_and_nothing_else(tmp_path, exception):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "older").write_text("older")
    with pytest.raises(type(exception)):
        _fail_halfway(atomic_dir(target, overwrite=True), exception)
    assert _names(target) == ["older"]
    assert _names(tmp_path) == ["bundle"]


def test_an_existing_directory_is_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="--overwrite"):
        _enter(atomic_dir(tmp_path))


def test_overwriting_replaces_the_whole_directory(tmp_path):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "older").write_text("older")
    with atomic_dir(target, overwrite=True) as temporary:
        (temporary / "newer").write_text("newer")
        assert _names(target) == ["older"]
    assert _names(target) == ["newer"]
    assert _names(tmp_path) == ["bundle"]


def test_a_file_is_not_replaced_by_a_directory_nor_the_other_way_round(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        _enter(atomic_dir(tmp_path / "file", overwrite=True))
    with pytest.raises(ConfigError, match="is a directory"):
        _enter(atomic_file(tmp_path))


def test_a_really_full_disk_is_a_clear_error(tmp_path):
    """/dev/full is a disk without space: every write to it fails with ENOSPC."""

    def write():
        with atomic_file(tmp_path / "model.bin") as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_bytes(b"x" * 100_000)

    with pytest.raises(CalveError, match=r"(?s)No space left on device.*model\.bin"):
        write()
    assert _names(tmp_path) == []


@pytest.mark.parametrize("writer", [atomic_file, atomic_dir])
def test_a_place_that_is_no_directory_is_a_clear_error(tmp_path, writer):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CalveError, match="cannot write the output"):
        _enter(writer(tmp_path / "file" / "inside" / "out"))


def test_a_folder_is_made_and_tried_before_the_work(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    assert _names(tmp_path / "new" / "folder") == []
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(CalveError, match="cannot write into the folder") as caught:
            check_writable(place)
        assert caught.value.where == str(place)


def test_an_input_that_is_missing_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "out"):
        (tmp_path / "no_such_input").read_bytes()


def test_an_input_that_cannot_be_read_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(OSError, match="boom"), atomic_dir(tmp_path / "out"):
        raise OSError(errno.ECONNRESET, "boom")
    assert _names(tmp_path) == []


@pytest.mark.parametrize("writing", [atomic_file, atomic_dir])
def test_a_failure_leaves_no_folder_that_was_made_on_the_way(tmp_path, writing):
    (tmp_path / "there").mkdir()
    with pytest.raises(RuntimeError):
        _fail_halfway(writing(tmp_path / "there" / "new" / "newer" / "x"), RuntimeError("x"))
    assert _names(tmp_path) == ["there"]
    assert _names(tmp_path / "there") == []


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("writing", [atomic_file, atomic_dir])
@pytest.mark.parametrize("place", ["x" * 300, "x" * 300 + "/y"])
def test_a_place_that_the_system_refuses_to_look_at_is_an_error(
    tmp_path, place, writing, overwrite
):
    with (
        pytest.raises(CalveError, match="cannot write the output: File name too long") as caught,
        writing(tmp_path / place, overwrite=overwrite),
    ):
        pass
    assert caught.value.where == str(tmp_path / place)
    assert _names(tmp_path) == []


def test_a_full_disk_is_explained_and_other_errors_pass(tmp_path):
    with (
        pytest.raises(CalveError, match="cannot write the log: No space left on device") as caught,
        writing_explained("the log", tmp_path, "free some space"),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x")
    assert (caught.value.where, caught.value.fix) == (str(tmp_path), "free some space")
    with pytest.raises(ValueError, match="x"), writing_explained("the log", tmp_path, ""):
        raise ValueError("x")


def test_a_link_to_a_directory_is_replaced_and_what_it_named_is_left_alone(tmp_path):
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "file").touch()
    (tmp_path / "link").symlink_to("older")
    with atomic_dir(tmp_path / "link", overwrite=True) as temporary:
        (temporary / "new").touch()
    assert _names(tmp_path) == ["link", "older"]
    assert _names(tmp_path / "link") == ["new"]
    assert _names(tmp_path / "older") == ["file"]


@pytest.fixture
def unreadable(tmp_path_factory) -> Path:
    """A file that can be opened, and cannot be read: nothing is mapped at address 0."""
    path = tmp_path_factory.mktemp("inputs") / "checkpoint.pt"
    path.symlink_to("/proc/self/mem")
    return path


@pytest.mark.parametrize("writing", [atomic_file, atomic_dir])
def test_an_input_that_fails_while_it_is_read_is_not_blamed_on_the_output(
    tmp_path, unreadable, writing
):
    with pytest.raises(OSError, match="Input/output error") as caught, writing(tmp_path / "out"):
        file_sha256(unreadable)
    assert not isinstance(caught.value, CalveError)
    assert caught.value.filename == str(unreadable)
    assert _names(tmp_path) == []


def test_an_input_output_error_of_no_known_file_is_blamed_on_no_single_one(tmp_path, unreadable):
    with (
        pytest.raises(CalveError, match="output, or cannot read a file that it is made from"),
        atomic_file(tmp_path / "out"),
    ):
        unreadable.read_bytes()
    with (
        pytest.raises(CalveError, match="output, or cannot read a file that it is made from"),
        atomic_file(tmp_path / "out") as temporary,
    ):
        raise OSError(errno.EIO, "", str(unreadable), None, str(temporary))  # as shutil.copy


def test_the_reason_is_kept_where_a_library_gives_no_number(tmp_path):
    with (
        pytest.raises(CalveError, match="cannot write the output: the library's reason"),
        atomic_file(tmp_path / "out") as temporary,
    ):
        raise OSError(None, "the library's reason", str(temporary))


def test_a_full_disk_elsewhere_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(OSError, match="elsewhere") as caught, atomic_dir(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device", "/elsewhere")
    assert not isinstance(caught.value, CalveError)


def test_a_full_disk_of_temporary_files_is_not_blamed_on_the_output(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=0))

    def write():
        with atomic_dir(tmp_path / "out"), scratch_folder("calve-test-") as scratch:
            assert scratch.is_dir()
            with Path("/dev/full").open("w") as full:
                full.write("x")

    with pytest.raises(CalveError, match="cannot write temporary files: No space left") as caught:
        write()
    assert "TMPDIR" in caught.value.fix


def test_a_missing_folder_for_temporary_files_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(CalveError, match="cannot write temporary files: No such") as caught:
        _enter(scratch_folder("calve-test-"))
    assert caught.value.where == str(tmp_path / "missing")


def _record_order(monkeypatch):
    """Which files are flushed and renamed, in order."""
    calls = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def recorded_fsync(descriptor):
        calls.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def recorded(method):
        def rename(self, target):
            calls.append(("rename", Path(target).name))
            return method(self, target)

        return rename

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded(replace))
    monkeypatch.setattr(Path, "rename", recorded(rename))
    monkeypatch.setattr("calve.common.files.rename_new", recorded(rename_new))
    return calls


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = _record_order(monkeypatch)
    with atomic_file(tmp_path / "model.bin") as temporary:
        temporary.write_bytes(b"whole")
    assert calls == [("fsync", temporary.name), ("rename", "model.bin"), ("fsync", tmp_path.name)]


def test_a_directory_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = _record_order(monkeypatch)
    with atomic_dir(tmp_path / "bundle") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file").write_text("x")
    assert calls[:3] == [("fsync", "inner"), ("fsync", "file"), ("fsync", temporary.name)]
    assert calls[-2:] == [("rename", "bundle"), ("fsync", tmp_path.name)]


PATHS = [".", "", "./", "..", "../..", "/", "//", "sub/..", "./.", "new/.."]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_the_current_directory_and_those_above_it_are_no_output(
    tmp_path, monkeypatch, path, overwrite
):
    inside = tmp_path / "a" / "b"
    (inside / "sub").mkdir(parents=True)
    monkeypatch.chdir(inside)
    with pytest.raises(ConfigError, match=r"current directory or one above|root directory"):
        _enter(atomic_dir(path, overwrite=overwrite))
    with pytest.raises(ConfigError, match=r"a directory, not a file|root directory"):
        _enter(atomic_file(path, overwrite=overwrite))
    assert _names(inside) == ["sub"]
    assert _names(tmp_path / "a") == ["b"]


def test_a_link_to_the_current_directory_may_be_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(".")
    with atomic_dir("link", overwrite=True) as temporary:
        (temporary / "x").touch()
    assert _names(tmp_path) == ["link"]
    assert _names(tmp_path / "link") == ["x"]


@pytest.mark.parametrize("path", ["new/", "./new", "sub/../new", "../b/new"])
def test_other_forms_of_a_path_are_taken(tmp_path, monkeypatch, path):
    inside = tmp_path / "b"
    (inside / "sub").mkdir(parents=True)
    monkeypatch.chdir(inside)
    with atomic_dir(path) as temporary:
        (temporary / "x").touch()
    assert _names(inside) == ["new", "sub"]
    assert _names(inside / "new") == ["x"]


def test_a_directory_beside_those_above_is_taken(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    with atomic_dir("../c/.") as temporary:
        (temporary / "x").touch()
    assert _names(tmp_path) == ["b", "c"]


@pytest.mark.timeout(10)
def test_a_pipe_and_a_device_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    for name in ("pipe", "device"):
        with pytest.raises(ConfigError, match="a pipe or a device"):
            _enter(atomic_file(tmp_path / name))
    assert _names(tmp_path) == ["device", "pipe"]


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000 + "b"])
def test_a_name_that_is_too_long_is_an_error(tmp_path, name):
    for writing in (atomic_file, atomic_dir):
        with pytest.raises(CalveError, match="too long"):
            _enter(writing(tmp_path / name))
    assert _names(tmp_path) == []


def test_a_pipe_or_an_endless_device_has_no_digest(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            file_sha256(path)
