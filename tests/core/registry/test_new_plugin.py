"""The distribution that `calve plugins new` writes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from calve.common.config import load_toml
from calve.errors import ConfigError
from calve.registry.new_plugin import write_plugin


def test_it_is_complete_and_nothing_is_left_to_fill_in(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    written = write_plugin("my-speech", folder)
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert found == set(written)
    assert Path("src/my_speech/encoder.py") in found
    for path in written:
        text = (folder / path).read_text()
        assert "@name@" not in text
        if path.suffix == ".py":
            ast.parse(text)
    project = load_toml(folder / "pyproject.toml")["project"]
    assert project["name"] == "my-speech"
    assert project["entry-points"]["calve.plugins"] == {"my_speech": "my_speech.plugin"}
    assert project["dependencies"] == ["calve>=0.1,<1"]


def test_it_is_formatted_and_lints(tmp_path: Path) -> None:
    pytest.importorskip("ruff")
    write_plugin("my_speech", tmp_path / "new")
    for command in (("check", "--select", "E,F,W,B,UP,N"), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length", "100", "new"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("My_Speech", "cannot be the name"),
        ("4ears", "cannot be the name"),
        ("class", "cannot be the name"),
        ("a/b", "cannot be the name"),
        ("", "cannot be the name"),
        ("json", "installed already"),
        ("torch", "installed already"),
        ("conformer", "registered already"),
    ],
)
def test_impossible_and_taken_names_are_refused(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        write_plugin(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists"):
        write_plugin("my_speech", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_lists_the_files_and_says_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from calve.cli.application import run

    monkeypatch.chdir(tmp_path)
    assert run(["plugins", "new", "my-speech"]) == 0
    printed = capsys.readouterr().out
    assert "my-speech/src/my_speech/plugin.py" in printed
    assert "pip install -e 'my-speech[test]'" in printed
    assert run(["plugins", "new", "my-speech"]) == 2
