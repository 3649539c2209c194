from __future__ import annotations

from pathlib import Path

import pytest

from calve.api import DataError
from calve_lhotse.stamps import added, resumable, stamp_of, stamped


def run_stage(folder: Path, key: dict[str, object], content: str) -> tuple[bool, dict]:
    with stamped(folder, key) as output:
        if output.is_new:
            (output.folder / "result.txt").write_text(content)
            output.report["length"] = len(content)
    return output.is_new, output.report


def interrupt_stage(folder: Path, key: dict[str, object], by: type[BaseException]) -> None:
    with stamped(folder, key) as output:
        (output.folder / "result.txt").write_text("half")
        raise by


def test_a_finished_stage_is_skipped_and_still_reports(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert run_stage(folder, {"seed": 0}, "first") == (True, {"length": 5})
    assert run_stage(folder, {"seed": 0}, "never written") == (False, {"length": 5})
    assert (folder / "result.txt").read_text() == "first"


def test_another_key_replaces_the_output(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    run_stage(folder, {"seed": 0}, "first")
    before = stamp_of(folder, "stage")
    assert run_stage(folder, {"seed": 1}, "second")[0]
    assert (folder / "result.txt").read_text() == "second"
    assert stamp_of(folder, "stage") != before


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError, ValueError])
def test_an_interrupted_stage_keeps_the_old_output_and_no_trace(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    folder = tmp_path / "out"
    run_stage(folder, {"seed": 0}, "first")
    with pytest.raises(interruption):
        interrupt_stage(folder, {"seed": 1}, interruption)
    assert (folder / "result.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"digest": 1}'])
def test_a_damaged_stamp_counts_as_none(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "out"
    run_stage(folder, {"seed": 0}, "first")
    (folder / "stamp.json").write_text(damage)
    with pytest.raises(DataError, match="'somewhere' has not been run"):
        stamp_of(folder, "somewhere")
    assert run_stage(folder, {"seed": 0}, "again")[0]


def interrupt_resumable(folder: Path, key: dict[str, object]) -> None:
    with resumable(folder, key) as output:
        (output.folder / "piece").write_text("done")
        raise KeyboardInterrupt


def test_a_resumed_stage_finds_what_the_interrupted_one_left(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        interrupt_resumable(folder, {"seed": 0})
    assert not folder.exists()
    with resumable(folder, {"seed": 0}) as output:
        assert output.is_new
        assert (output.folder / "piece").read_text() == "done"
    assert (folder / "piece").read_text() == "done"
    with resumable(folder, {"seed": 0}) as output:
        assert not output.is_new


def test_pieces_of_another_key_are_not_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        interrupt_resumable(folder, {"seed": 0})
    with resumable(folder, {"seed": 1}) as output:
        assert list(output.folder.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_added_files_are_made_again_when_the_folder_was(tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def add() -> bool:
        with added(folder, "graphs", {"order": 3}) as output:
            return output.is_new

    run_stage(folder, {"seed": 0}, "first")
    assert [add(), add()] == [True, False]
    run_stage(folder, {"seed": 1}, "second")
    assert add()
