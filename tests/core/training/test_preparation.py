"""``calve.prepare``: stages in order, alone in their folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import calve
from calve.common.locking import locked
from calve.common.progress import Progress
from calve.errors import ConfigError, DataError, PluginError
from calve.registry.specs import DatasetSpec, StageSpec
from calve.training import preparation


@dataclass(frozen=True)
class Options:
    words: int = field(metadata={"help": "Words to write."})
    data_dir: Path = field(default=Path("data/sighs"), metadata={"help": "Where to write."})


def write(options: Options, progress: Progress) -> Mapping[str, object]:
    options.data_dir.mkdir(exist_ok=True)
    (options.data_dir / "words.txt").write_text("sigh " * options.words)
    return {"words": options.words}


def count(options: Options, progress: Progress) -> Mapping[str, object]:
    try:
        return {"counted": len((options.data_dir / "words.txt").read_text().split())}
    except OSError as error:
        raise DataError("there are no words", fix="run stage 0") from error


@pytest.fixture(autouse=True)
def sighs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus "sighs" of two stages."""

    def reference(value: Any) -> Any:
        return SimpleNamespace(load=lambda: value)

    stages = (
        StageSpec("write", "write words", reference(write)),
        StageSpec("count", "count words", reference(count)),
    )
    spec = DatasetSpec("sighs", reference(Options), stages, reference(None), (), "sighs")
    real = preparation.registry().datasets
    datasets = SimpleNamespace(get=lambda name: spec if name == "sighs" else real.get(name))
    monkeypatch.setattr(preparation, "registry", lambda: SimpleNamespace(datasets=datasets))


def test_all_stages_run_and_report_and_nothing_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = calve.prepare("sighs", words=3, data_dir=str(tmp_path / "data"))
    assert reports == {"write": {"words": 3}, "count": {"counted": 3}}
    assert capsys.readouterr() == ("", "")


def test_a_range_of_stages_can_be_chosen(tmp_path: Path) -> None:
    options = {"words": 2, "data_dir": tmp_path}
    assert list(calve.prepare("sighs", stop_stage=0, **options)) == ["write"]
    assert list(calve.prepare("sighs", stage=1, **options)) == ["count"]
    assert list(calve.prepare("sighs", stage=0, stop_stage=9, **options)) == ["write", "count"]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"stage": 2}, "no stage from --stage 2 on"),
        ({"stage": -1}, "no stage from --stage -1 on"),
        ({"stop_stage": -1}, "no stage between --stage 0 and --stop-stage -1"),
        ({"stop_stage": -2}, "no stage between --stage 0 and --stop-stage -2"),
        ({"stage": 1, "stop_stage": 0}, "no stage between --stage 1 and --stop-stage 0"),
    ],
)
def test_a_range_without_a_stage_is_an_error(
    tmp_path: Path, stages: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        calve.prepare("sighs", words=1, data_dir=tmp_path / "data", **stages)
    assert "stages 0 to 1" in str(caught.value.fix)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a value for words"),
        ({"words": "many"}, "'many' is not an integer"),
        ({"words": 1, "wrods": 1}, "no option 'wrods'"),
    ],
)
def test_an_option_that_is_missing_or_wrong_is_an_error(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        calve.prepare("sighs", **options)


def test_a_stage_that_fails_is_named_and_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="stage 'count' failed: there are no words"):
        calve.prepare("sighs", stage=1, words=1, data_dir=tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_one_preparation_at_a_time_uses_a_folder(tmp_path: Path) -> None:
    with (
        locked(tmp_path, doing="preparing", option="--data-dir"),
        pytest.raises(ConfigError, match="another process is preparing this folder"),
    ):
        calve.prepare("sighs", words=1, data_dir=tmp_path)


def test_an_unknown_corpus_is_an_error() -> None:
    with pytest.raises(PluginError, match="no-such-corpus"):
        calve.prepare("no-such-corpus")
