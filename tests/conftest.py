"""Fixtures that several rooms share."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def _shared_folder(name: str) -> Path:
    folder = _SHARED / name
    if not folder.is_dir():
        pytest.skip(f"../shared/{name} is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Numbers measured by running icefall and k2; see the README in the folder."""
    return _shared_folder("goldens")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Recordings of real speech; see the README in the folder."""
    return _shared_folder("data")
