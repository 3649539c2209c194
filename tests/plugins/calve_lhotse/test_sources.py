"""Manifests from elsewhere that name commands and URLs as sources."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from lhotse import CutSet, Recording

from calve.api import DataError
from calve_lhotse.corpus import (
    Corpus,
    cuts_path,
    load_batches,
    load_cuts,
    manifest_paths,
    read_manifests,
)
from calve_lhotse.loader_options import SentenceLoaderOptions
from calve_lhotse.sources import ALLOW_COMMANDS, check_sources, checked_items

FILE = {"type": "file", "channels": [0], "source": "a.wav"}
TOUCH = "touch ran"


def recording(**source: Any) -> dict[str, Any]:
    numbers = {"sampling_rate": 16000, "num_samples": 16000, "duration": 1.0}
    return {"id": "a", "sources": [FILE | source], **numbers}


@pytest.mark.parametrize(
    "entry",
    [
        recording(),
        recording(source="a b/é.wav"),
        recording(type="memory", source="AAAA"),
        recording(type="shar", source=""),
        {"id": "a", "features": {"storage_type": "lilcom_chunky", "storage_path": "feats"}},
        {"id": "a", "text": "touch ran |", "custom": {"type": "command"}},
        {"id": "a", "text": "pipe: http://b"},
    ],
)
def test_what_is_only_read_is_allowed(entry: dict[str, Any]) -> None:
    check_sources(entry, "here")


@pytest.mark.parametrize(
    "entry",
    [
        recording(type="command", source=TOUCH),
        recording(type="url", source="http://127.0.0.1:9/a.wav"),
        recording(type="url", source=f"pipe:{TOUCH}"),
        recording(source=f"pipe:{TOUCH}"),
        recording(source="s3://bucket/a.wav"),
        recording(source=f"{TOUCH} |"),
        {"id": "a", "tracks": [{"cut": {"recording": recording(type="command", source=TOUCH)}}]},
        {
            "id": "a",
            "recording": {
                **recording(),
                "transforms": [{"kwargs": {"rir": recording(type="command", source=TOUCH)}}],
            },
        },
        {"id": "a", "custom": {"noise": recording(type="command", source=TOUCH)}},
        {"id": "a", "features": {"storage_type": "lilcom_url", "storage_path": "http://b"}},
        {"id": "a", "features": {"storage_type": "kaldiio", "storage_path": f"{TOUCH} |"}},
        {"id": "a", "features": {"storage_type": "lilcom_files", "storage_path": f"pipe:{TOUCH}"}},
        {"id": "a", "features": {"storage_type": ["odd"], "storage_path": "b"}},
    ],
)
def test_what_acts_is_refused_wherever_it_stands(
    entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="runs a command or fetches something") as caught:
        check_sources(entry, "file, line 3")
    assert caught.value.where == "file, line 3"
    assert "--allow-commands" in str(caught.value.fix)
    check_sources(entry, "file, line 3", allow=True)
    monkeypatch.setenv(ALLOW_COMMANDS, "1")
    check_sources(entry, "file, line 3")


def test_an_escape_in_a_command_is_not_printed() -> None:
    with pytest.raises(DataError) as caught:
        check_sources(recording(type="command", source="\x1b[31m; touch ran"), "here")
    assert "\x1b" not in str(caught.value)


def test_the_line_of_a_manifest_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own_recordings_train.jsonl.gz"
    lines = [recording(), recording(type="command", source=TOUCH) | {"id": "b"}]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    items = checked_items(path)
    assert isinstance(next(items), Recording)
    with pytest.raises(DataError, match=TOUCH) as caught:
        next(items)
    assert caught.value.where == f"{path}, line 2"
    assert [one.id for one in checked_items(path, allow=True)] == ["a", "b"]


def test_prepared_data_from_elsewhere_run_nothing(
    prepared_librispeech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages, decoding and training read them again."""
    corpus = Corpus.read(prepared_librispeech)
    data = tmp_path / "data"
    cuts = list(CutSet.from_file(cuts_path(prepared_librispeech, corpus, "dev-clean")))
    for path, entries in (
        (cuts_path(data, corpus, "dev-clean"), [cut.to_dict() for cut in cuts]),
        (manifest_paths(data, corpus, "dev-clean")[0], [cut.recording.to_dict() for cut in cuts]),
    ):
        entries[3].get("recording", entries[3])["sources"] = [
            {"type": "command", "channels": [0], "source": f"touch {tmp_path / 'ran'}"}
        ]
        path.parent.mkdir(parents=True)
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, entries)).encode()))
    Corpus.path(data).write_text(corpus.to_json())
    with pytest.raises(DataError, match="runs a command"):
        read_manifests(data, corpus, "dev-clean")
    with pytest.raises(DataError, match="runs a command"):
        list(load_cuts(data, "valid"))
    options = SentenceLoaderOptions(enable_musan=False, num_workers=0, on_the_fly_feats=True)
    (data / "lang").symlink_to(prepared_librispeech / "lang")
    with pytest.raises(DataError, match="runs a command"):
        list(load_batches(data, "valid", options, training=False))
    assert not (tmp_path / "ran").exists()
    monkeypatch.setenv(ALLOW_COMMANDS, "1")
    assert len(list(load_cuts(data, "valid"))) == len(cuts)
