from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from calve.api import ConfigError
from calve.common.locking import locked

HOLD = """
import sys
from pathlib import Path
from calve.common.locking import locked
with locked(Path(sys.argv[1]), doing="sleeping in", option="--bed"):
    print("held", flush=True)
    sys.stdin.read()
"""


def take(folder: Path) -> None:
    with locked(folder, doing="sleeping in", option="--bed"):
        pass


def test_a_folder_is_held_by_one_process_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match="another process is sleeping in this folder") as caught:
        take(folder)
    assert caught.value.where == str(folder)
    assert "--bed" in str(caught.value.fix)

    other.send_signal(signal.SIGKILL)
    other.communicate(timeout=30)
    take(folder)
    take(folder)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere/at/all")
    for name in ("file", "file/folder", "x" * 300 + "/folder", "link"):
        with pytest.raises(ConfigError, match="cannot write into this folder"):
            take(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path / "a" / "b", doing="", option=""):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_or_is_used_stays(tmp_path: Path) -> None:
    used, there = tmp_path / "used", tmp_path / "there"
    there.mkdir()
    take(there)
    with locked(used, doing="", option=""):
        (used / "output").touch()
    take(used)
    assert {path.name for path in used.iterdir()} == {".lock", "output"}
    assert {path.name for path in there.iterdir()} == {".lock"}


def test_a_lock_that_is_removed_while_it_is_waited_for_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another could have a new one already."""
    lock, late = tmp_path / ".lock", iter([True])

    def flock(file: IO[str], operation: int) -> None:
        if next(late, False):
            lock.unlink()
        fcntl_flock(file, operation)

    fcntl_flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path, doing="sleeping in", option="--bed"):
        assert lock.exists()
        with pytest.raises(ConfigError, match="another process"):
            take(tmp_path)


def test_a_folder_that_comes_and_goes_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    alone, held, refused = threading.Lock(), [], []

    def hold_often(_: int) -> None:
        for _ in range(300):
            try:
                with locked(tmp_path / "folder", doing="sleeping in", option="--bed"):
                    assert alone.acquire(blocking=False)
                    held.append(1)
                    alone.release()
            except ConfigError as error:
                refused.append(error.what)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(hold_often, range(8)))
    assert held
    assert set(refused) <= {"another process is sleeping in this folder"}
