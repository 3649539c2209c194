"""A small corpus for the commands that decode."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from calve.cli.application import run

SPEAKERS = ("george", "theo")


@pytest.fixture(scope="session")
def data_dir(
    bundled_plugins: None, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A small prepared corpus of real digits."""
    root = tmp_path_factory.mktemp("fsdd")
    for speaker in SPEAKERS:
        for digit in range(10):
            for index in (0, 5, 6):
                name = f"{digit}_{speaker}_{index}.wav"
                shutil.copyfile(shared_data / "fsdd" / "recordings" / name, root / name)
    folder = tmp_path_factory.mktemp("prepared") / "fsdd"
    arguments = {
        "--root": root,
        "--data-dir": folder,
        "--held-out-speaker": "theo",
        "--train-variants": 1,
        "--test-variants": 1,
        "--synthetic-fraction": 0,
        "--jobs": 1,
    }
    words = [str(word) for pair in arguments.items() for word in pair]
    assert run(["prepare", "fsdd", *words, "--stop-stage", "3"]) == 0
    return folder
