"""Listing folders, and paths that libraries of C++ can open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from calve.common.paths import check_native_path, is_native_path, visible_files
from calve.errors import BundleError

LATIN = os.fsdecode(b"caf\xe9")


def test_text_in_any_language_is_a_path_for_all(tmp_path: Path):
    check_native_path(tmp_path / "übung 中 $x$ \x1b[31m", BundleError)


@pytest.mark.parametrize("place", [LATIN, f"{LATIN}/bundle"])
def test_a_path_that_is_not_utf8_is_refused_wherever_the_name_stands(tmp_path: Path, place: str):
    assert not is_native_path(place)
    with pytest.raises(BundleError, match="not UTF-8") as caught:
        check_native_path(tmp_path / place, BundleError)
    assert caught.value.where == str(tmp_path / place)


def test_the_folders_above_a_relative_path_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / LATIN).mkdir()
    monkeypatch.chdir(tmp_path / LATIN)
    with pytest.raises(BundleError, match="not UTF-8"):
        check_native_path("bundle", BundleError)


def test_files_that_macos_hides_are_not_listed(tmp_path: Path):
    folder = tmp_path / ".work"  # a hidden folder that the user names is meant
    for name in ("a.wav", "sub/b.wav", "._a.wav", "sub/._b.wav", ".Trashes/c.wav", "a.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    found = sorted(
        path.relative_to(folder).as_posix() for path in visible_files(folder, "**/*.wav")
    )
    assert found == ["a.wav", "sub/b.wav"]
