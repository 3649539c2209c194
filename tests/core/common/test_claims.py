"""An output is made by one process at a time, and nothing of a killed one stays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from calve.common import files, renaming
from calve.common.claims import claimed
from calve.common.files import atomic_dir, atomic_file, replace_dir, scratch_folder
from calve.errors import ConfigError

WRITE = """
import sys
from pathlib import Path
from calve.common.files import atomic_dir, atomic_file, scratch_folder
writing = {"file": atomic_file, "dir": atomic_dir}[sys.argv[1]]
output = writing(Path(sys.argv[2]), overwrite=True)
with output as temporary, scratch_folder("calve-test-") as scratch:
    (temporary / "half" if temporary.is_dir() else temporary).write_text("half")
    (scratch / "half").write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""
WRITERS = {"file": atomic_file, "dir": atomic_dir}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def started(kind: str, target: Path) -> subprocess.Popen[str]:
    """Another process that is writing the target, and goes on until it is stopped."""
    other = subprocess.Popen(
        [sys.executable, "-c", WRITE, kind, target],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "writing\n"
    return other


@pytest.fixture
def temporary_files(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.mark.parametrize("kind", ["file", "dir"])
def test_an_output_that_another_process_writes_is_refused(tmp_path, kind):
    other = started(kind, tmp_path / "out")
    with (
        pytest.raises(ConfigError, match="another process is writing this output") as caught,
        WRITERS[kind](tmp_path / "out", overwrite=False),
    ):
        pytest.fail("the block must not run")
    assert caught.value.where == str(tmp_path / "out")
    other.communicate("")
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", ["file", "dir"])
def test_what_a_killed_process_left_goes_with_the_next_output(tmp_path, temporary_files, kind):
    place = tmp_path / "place"
    other = started(kind, place / "out.pt")
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert [name for name in names(place) if not name.startswith(".")] == []
    assert len(names(place)) == 2
    assert len(names(temporary_files)) == 1
    with atomic_file(place / "another") as temporary:
        temporary.write_text("whole")
    assert names(place) == ["another"]
    with scratch_folder("calve-other-") as scratch:
        assert names(temporary_files) == [scratch.name]
    assert names(temporary_files) == []


def test_what_a_living_process_writes_is_left_alone(tmp_path, temporary_files):
    place = tmp_path / "place"
    other = started("dir", place / "out")
    with atomic_file(place / "another") as temporary, scratch_folder("calve-test-"):
        temporary.write_text("whole")
    assert len(names(temporary_files)) == 1
    other.communicate("")
    assert names(place) == ["another", "out"]
    assert names(place / "out") == ["half"]


def test_files_of_others_in_the_folder_for_temporary_files_stay(temporary_files):
    kept = ["calve-data", "calve-export-", "calve-export-abcdefgi", "tmpabcdefgh", "x.scratch"]
    for name in kept:
        (temporary_files / name).mkdir()
    (temporary_files / "calve-export-abcdefgh.scratch").symlink_to("calve-data")
    with scratch_folder("calve-test-"):
        pass
    assert names(temporary_files) == sorted([*kept, "calve-export-abcdefgh.scratch"])


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("thing", ["file", "directory", "dangling link"])
@pytest.mark.parametrize("kind", ["file", "dir"])
def test_what_appears_while_an_output_is_made_is_left_alone(
    tmp_path, monkeypatch, kind, thing, native
):
    if not native:
        monkeypatch.setattr(renaming, "_renameat2", lambda *arguments: False)
    target = tmp_path / "out"

    def appear() -> None:
        if thing == "file":
            target.write_text("somebody's")
        elif thing == "directory":
            target.mkdir()
        else:
            target.symlink_to("nowhere")

    def write() -> None:
        with WRITERS[kind](target, overwrite=False) as temporary:
            (temporary / "x" if kind == "dir" else temporary).write_text("ours")
            appear()

    with pytest.raises(ConfigError, match="has appeared while the output was made") as caught:
        write()
    assert "--overwrite" in caught.value.fix
    assert names(tmp_path) == ["out"]
    assert thing != "file" or target.read_text() == "somebody's"
    assert thing != "directory" or names(target) == []
    assert thing != "dangling link" or target.is_symlink()


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("kind", ["file", "dir"])
def test_a_new_output_gets_its_name_with_and_without_the_call_of_linux(
    tmp_path, monkeypatch, kind, native
):
    if not native:
        monkeypatch.setattr(renaming, "_renameat2", lambda *arguments: False)
    for overwrite in (False, True):
        with WRITERS[kind](tmp_path / "out", overwrite=overwrite) as temporary:
            (temporary / "x" if kind == "dir" else temporary).write_text(str(overwrite))
    written = tmp_path / "out" / "x" if kind == "dir" else tmp_path / "out"
    assert written.read_text() == "True"
    assert names(tmp_path) == ["out"]


def test_a_link_that_leads_nowhere_is_an_existing_output(tmp_path):
    (tmp_path / "out").symlink_to("nowhere")
    for writing in WRITERS.values():
        with (
            pytest.raises(ConfigError, match="exists already"),
            writing(tmp_path / "out", overwrite=False),
        ):
            pytest.fail("the block must not run")


def test_an_older_directory_is_put_back_if_the_kill_came_between_two_renames(tmp_path, monkeypatch):
    target = tmp_path / "out"
    for text in ("older", "newer"):
        with atomic_dir(tmp_path / text) as temporary:
            (temporary / "x").write_text(text)
    (tmp_path / "older").rename(target)
    monkeypatch.setattr(renaming, "_renameat2", lambda *arguments: False)
    pid = os.fork()
    if pid == 0:
        rename = Path.rename

        def rename_once_and_die(self: Path, other: Path) -> None:
            rename(self, other)
            if self == target:
                os.kill(os.getpid(), signal.SIGKILL)

        Path.rename = rename_once_and_die  # type: ignore[method-assign,assignment]
        replace_dir(tmp_path / "newer", target)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert not target.exists()
    with atomic_file(tmp_path / "any") as temporary:
        temporary.touch()
    assert names(tmp_path) == ["any", "out"]
    assert (target / "x").read_text() == "older"


def test_a_file_system_without_locks_makes_outputs_too(tmp_path, monkeypatch):
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with atomic_dir(tmp_path / "out") as temporary, scratch_folder("calve-test-"):
        (temporary / "x").touch()
    assert names(tmp_path) == ["out"]


def _write(folder: Path, number: int) -> bool:
    try:
        with atomic_dir(folder / "out") as temporary:
            (temporary / "x").write_text(str(number))
    except ConfigError:
        return False
    return True


def test_of_many_processes_one_makes_the_output(tmp_path):
    with multiprocessing.get_context("fork").Pool(8) as pool:
        made = pool.starmap(_write, [(tmp_path, number) for number in range(40)])
    assert made.count(True) == 1
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "x").read_text() == str(made.index(True))


def test_the_longest_name_that_the_system_allows_can_be_written(tmp_path):
    name = "x" * 251 + ".bin"
    with atomic_file(tmp_path / name) as temporary:
        temporary.touch()
    with atomic_dir(tmp_path / ("y" * 255)):
        pass
    assert names(tmp_path) == [name, "y" * 255]


def test_a_claim_waits_for_the_process_that_holds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_LONG_PATIENCE", 0.1)
    with (
        claimed(tmp_path / "out", patience=0.0),
        pytest.raises(ConfigError, match="another process"),
        atomic_file(tmp_path / "out"),
    ):
        pass
