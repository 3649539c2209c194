"""``calve streaming-decode``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from calve.bundles.bundle import Bundle, write_manifest
from calve.cli.application import run
from calve.decoding.bundle_model import BundleModel
from calve.errors import ConfigError

RECIPE = "lstm_transducer_stateless2"
_ORACLE = "fast_beam_search_nbest_oracle"


def streaming_decode(*arguments: object, recipe: str = RECIPE) -> int:
    return run(["streaming-decode", recipe, *map(str, arguments)])


@pytest.fixture
def model(golden_checkpoint: Path, golden_tokens: Path) -> tuple[object, ...]:
    return ("--checkpoint", golden_checkpoint, "--tokens", golden_tokens)


@pytest.fixture
def corpus(data_dir: Path) -> tuple[object, ...]:
    return ("--corpus", "fsdd", "--data-dir", data_dir)


def test_accuracy_latency_and_throughput_are_printed_and_kept(
    model: tuple[object, ...],
    corpus: tuple[object, ...],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    arguments = (*model, *corpus, "--num-decode-streams", 2, "--decode-chunk-size", 8)
    assert streaming_decode(*arguments, "--res-dir", tmp_path, "--json") == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert (row["runtime"], row["mode"]) == ("torch", "streaming, 320 ms")
    assert 0 < row["p50 ms"] <= row["p95 ms"] <= row["p99 ms"]
    assert row["audio s/s"] > 0
    (summary,) = (tmp_path / "streaming" / "greedy_search").glob("wer-summary-*.txt")
    assert "-chunk-size-8" in summary.name
    settings, rate = summary.read_text().splitlines()[1].split("\t")
    assert float(rate) == pytest.approx(row["wer"], abs=0.005)
    for word in ("p50", "p95", "p99", "seconds of audio per second", "2 streams"):
        assert word in settings


def counts(row: dict[str, Any]) -> list[int]:
    return [row[key] for key in ("substitutions", "insertions", "deletions", "utterances")]


def test_groups_of_streams_in_processes_find_what_one_process_finds(
    golden_bundle: Bundle, corpus: tuple[object, ...], capfd: pytest.CaptureFixture[str]
):
    rows = []
    for jobs in (1, 2):
        assert (
            streaming_decode("--bundle", golden_bundle.path, *corpus, "--jobs", jobs, "--json") == 0
        )
        rows += json.loads(capfd.readouterr().out)
    assert [row["runtime"] for row in rows] == ["ncnn", "ncnn"]
    assert counts(rows[0]) == counts(rows[1])


def test_simulated_and_real_streaming_are_compared(
    golden_bundle: Bundle,
    model: tuple[object, ...],
    corpus: tuple[object, ...],
    capfd: pytest.CaptureFixture[str],
):
    assert streaming_decode(*model, *corpus, "--compare", "--json") == 0
    shown = capfd.readouterr()
    simulated, real = json.loads(shown.out)
    assert [simulated["mode"], real["mode"]] == [
        "simulated streaming, 40 ms",
        "streaming, 40 ms",
    ]
    assert counts(simulated) == counts(real)
    assert real["first_difference"] is None
    assert "agree in every utterance" in shown.err
    bundle = ("--bundle", golden_bundle.path)
    assert streaming_decode(*model, *bundle, *corpus, "--compare") == 0
    assert "agree in every utterance" in capfd.readouterr().out


def test_what_endpointing_changes_is_reported(
    model: tuple[object, ...], corpus: tuple[object, ...], capfd: pytest.CaptureFixture[str]
):
    rules = ("--rule3-min-utterance-length", 0.5)
    assert streaming_decode(*model, *corpus, *rules, "--json") == 0
    rows = {row["method"]: row for row in json.loads(capfd.readouterr().out)}
    assert set(rows) == {"greedy_search", "greedy_search_endpointing"}
    assert "endpoints" not in rows["greedy_search"]
    assert "rule 3: 0" not in rows["greedy_search_endpointing"]["endpoints"]


def test_what_hotwords_change_is_reported(
    model: tuple[object, ...],
    corpus: tuple[object, ...],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    hotwords = tmp_path / "hotwords.txt"
    hotwords.write_text("▁word5\n", encoding="utf-8")
    boosted = ("--hotwords-file", hotwords, "--hotwords-score", 30)
    method = ("--decoding-method", "modified_beam_search")
    kept = ("--res-dir", tmp_path, "--json")
    assert streaming_decode(*model, *corpus, *method, *boosted, *kept) == 0
    rows = {row["method"]: row for row in json.loads(capfd.readouterr().out)}
    with_hotwords = "modified_beam_search_hotwords_file_hotwords_hotwords_score_30.0"
    assert set(rows) == {"modified_beam_search", with_hotwords}
    for row in rows.values():
        (counts,) = row["hotwords"].items()
        assert counts == ("word5", {"said": 0, "recognized": 0, "false_alarms": ANY})
    alarms = {key: row["hotwords"]["word5"]["false_alarms"] for key, row in rows.items()}
    assert alarms[with_hotwords] > alarms["modified_beam_search"]
    found = (tmp_path / "streaming" / "modified_beam_search").glob("recogs-*.txt")
    without, boosted_texts = (
        path.read_text(encoding="utf-8").count("'word5'")
        for path in sorted(found, key=lambda path: "hotwords" in path.name)
    )
    assert boosted_texts > without


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "no checkpoint was given"),
        (("--compare", "--bundle", "BUNDLE"), "no checkpoint was given"),
        (
            (*("--bundle", "BUNDLE"), "--endpointing", "--decoding-method", _ORACLE),
            "needs a reference",
        ),
        (("--bundle", "BUNDLE", "--checkpoint", "x.pt"), "instead of a checkpoint"),
        (("--bundle", "BUNDLE", "--encoder-dim", "7"), "exported with --encoder-dim 32, not 7"),
        (("--bundle", "/nowhere"), "does not exist"),
        (("--checkpoint", "/nowhere.pt"), "/nowhere.pt"),
        (
            ("--bundle", "BUNDLE", "--rule1-min-trailing-silence", "0"),
            "0.0 is not above 0",
        ),
        (("--bundle", "BUNDLE", "--num-decode-streams", "0"), "--num-decode-streams"),
    ],
)
def test_a_wrong_option_is_refused(
    golden_bundle: Bundle,
    corpus: tuple[object, ...],
    arguments: tuple[str, ...],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
):
    given = [str(golden_bundle.path) if one == "BUNDLE" else one for one in arguments]
    assert streaming_decode(*given, *corpus) != 0
    error = capsys.readouterr().err
    assert complaint in error
    assert "Traceback" not in error


def test_a_bundle_of_another_recipe_is_refused(
    golden_bundle: Bundle, corpus: tuple[object, ...], capsys: pytest.CaptureFixture[str]
):
    bundle = ("--bundle", golden_bundle.path)
    assert streaming_decode(*bundle, *corpus, recipe="pruned_transducer_stateless5") != 0
    assert f"the bundle is of recipe {RECIPE}" in capsys.readouterr().err


def test_a_bundle_for_whole_utterances_is_refused(
    offline_bundle: Bundle, corpus: tuple[object, ...], capsys: pytest.CaptureFixture[str]
):
    bundle = ("--bundle", offline_bundle.path)
    assert streaming_decode(*bundle, *corpus, recipe="pruned_transducer_stateless5") == 1
    error = capsys.readouterr().err
    assert "the bundle is for whole utterances and cannot stream" in error
    assert "calve decode --bundle" in error


def test_steps_that_the_model_was_not_trained_for_are_warned_of_and_refused_under_strict(
    corpus: tuple[object, ...], capfd: pytest.CaptureFixture[str]
):
    conformer = "pruned_transducer_stateless5"
    arguments = ("--checkpoint", "builtin:digits-conformer", *corpus, "--decode-chunk-size")
    assert streaming_decode(*arguments, 50, "--json", recipe=conformer) == 0
    warned = capfd.readouterr()
    assert "Warning: a chunk of 50 frames (2000 ms) is outside" in warned.err
    assert json.loads(warned.out)
    assert streaming_decode(*arguments, 50, "--strict", recipe=conformer) == 2
    refused = capfd.readouterr()
    assert "a chunk of 50 frames (2000 ms) is outside" in refused.err
    assert refused.out == ""
    assert streaming_decode(*arguments, 16, "--strict", recipe=conformer) == 0
    assert "outside" not in capfd.readouterr().err


def test_an_option_that_is_a_list_is_compared_with_what_the_bundle_says(
    golden_bundle: Bundle, tmp_path: Path
):
    config = {"encoder": {"channels": (4, 16)}, "model": {}}
    # Without its files, which the check does not read.
    write_manifest(tmp_path, replace(golden_bundle.manifest, config=config, files={}))
    model = BundleModel(tmp_path)
    model.check_exported_as(RECIPE, {"encoder": {"channels": (4, 16)}})
    with pytest.raises(ConfigError, match="exported with --channels 4,16, not 4,8"):
        model.check_exported_as(RECIPE, {"encoder": {"channels": (4, 8)}})
