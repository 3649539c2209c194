from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(name: str, holds: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{holds} are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Golden numbers of icefall, k2 and ncnn's tools."""
    return _folder("goldens", "the golden numbers")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real speech that the repository does not carry."""
    return _folder("data", "the shared recordings")
