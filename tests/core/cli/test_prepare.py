from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from calve.cli.application import run
from calve.common.locking import locked

pytestmark = pytest.mark.usefixtures("bundled_plugins")


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A data set of noise: two speakers, seven recordings of two digits each."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for speaker in ("ann", "bob"):
        for index in range(7):
            for digit in (3, 7):
                samples = 0.1 * generator.standard_normal(2400)
                soundfile.write(folder / f"{digit}_{speaker}_{index}.wav", samples, 8000)
    return folder


def prepare(*arguments: object) -> int:
    return run(["prepare", *map(str, arguments)])


def test_help_lists_the_corpora(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare("--help") == 0
    assert "fsdd connected English digits" in " ".join(capsys.readouterr().out.split())


def test_help_of_a_corpus_lists_its_options_and_stages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert prepare("fsdd", "--help") == 0
    output = capsys.readouterr().out
    assert "--held-out-speaker" in output
    assert "0 manifests: list the recordings" in output
    assert "5 validate:" in output


def test_chosen_stages_run_and_report_as_json(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = tmp_path / "data"
    arguments = ("fsdd", "--root", recordings, "--data-dir", data_dir, "--held-out-speaker", "bob")
    assert prepare(*arguments, "--stop-stage", 0, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["manifests"]["splits"] == {"train": 2, "valid": 2, "test": 10, "heldout": 14}
    assert {path.name for path in data_dir.iterdir()} == {".lock", "manifests"}


def test_the_report_is_readable_without_json(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("fsdd", "--root", recordings, "--data-dir", tmp_path / "data")
    assert prepare(*arguments, "--held-out-speaker", "bob", "--stop-stage", 0) == 0
    assert "  splits: train 2, valid 2, test 10, heldout 14\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fsdd",), "Missing option '--root'"),
        (("fsdd", "--root", "nowhere"), "does not exist"),
        (
            ("fsdd", "--root", ".", "--stage", 4, "--stop-stage", 3),
            "no stage between --stage 4 and",
        ),
        (("fsdd", "--root", ".", "--stage", 9), "no stage from --stage 9 on"),
        (("fsdd", "--root", ".", "--jobs", "many"), "--jobs"),
        (("fsd", "--root", "."), "did you mean 'fsdd'"),
    ],
)
def test_mistakes_are_messages(
    arguments: tuple[object, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(*arguments) != 0
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_what_was_made_before_a_stage_failed_is_reported(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("fsdd", "--root", recordings, "--data-dir", tmp_path / "data")
    options = ("--held-out-speaker", "bob", "--synthetic-fraction", 0, "--vocab-size", 9999)
    assert prepare(*arguments, *options) == 1
    captured = capsys.readouterr()
    assert "stage 'lang' failed" in captured.err
    assert "features (" in captured.out
    assert "lang (" not in captured.out


def test_the_error_of_a_stage_names_the_stage_and_the_speakers(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare("fsdd", "--root", recordings, "--data-dir", tmp_path / "data") == 1
    message = capsys.readouterr().err
    assert "stage 'manifests' failed: cannot hold out speaker 'theo'" in message
    assert "ann, bob" in message
    assert not (tmp_path / "data").exists()


def test_a_plugin_that_fails_when_a_stage_has_finished_costs_a_line_and_no_stage(
    run_calve: Callable[..., Any], recordings: Path, tmp_path: Path
) -> None:
    arguments = (
        *("--root", recordings, "--data-dir", tmp_path / "data"),
        *("--held-out-speaker", "bob", "--stop-stage", 0),
    )
    result = run_calve("prepare", "fsdd", *map(str, arguments), fakes=("every_hook_fails",))
    assert result.returncode == 0
    lines = [line for line in result.stderr.splitlines() if line.startswith("calve: plugin")]
    assert "calve_register_encoders" in lines[0]
    assert "calve_stage_finished is out of order" in lines[1]
    assert len(lines) == 2
    assert (tmp_path / "data" / "manifests").is_dir()


def test_a_folder_where_another_process_prepares_is_left_alone(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = tmp_path / "data"
    with locked(data_dir, doing="preparing", option="--data-dir"):
        assert prepare("fsdd", "--root", recordings, "--data-dir", data_dir) == 2
        message = capsys.readouterr().err
        assert "another process is preparing this folder" in message
        assert "--data-dir" in message
        assert [path.name for path in data_dir.iterdir()] == [".lock"]
