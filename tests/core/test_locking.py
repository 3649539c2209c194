from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from calve.api import ConfigError
from calve.locking import locked

HOLD = """
import sys
from pathlib import Path
from calve.locking import locked
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
    with pytest.raises(ConfigError, match="cannot write into this folder"):
        take(tmp_path / "file")
