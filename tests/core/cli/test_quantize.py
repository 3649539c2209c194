"""``calve quantize``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from calve.bundles.bundle import Bundle
from calve.cli.application import run

DEMO = Path(__file__).parents[3] / "plugins" / "calve_transducer" / "digits" / "recordings"


def quantize(*arguments: object) -> int:
    return run(["quantize", *map(str, arguments)])


def test_it_prints_sizes_and_error_rates(
    golden_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = quantize(
        golden_bundle.path, "--output", tmp_path / "out", "--evaluation", DEMO / "flite-kal.wav"
    )
    captured = capfd.readouterr()
    assert code == 0, captured.err
    lines = [line.split() for line in captured.out.splitlines()]
    assert ["encoder", "int8", "656", "KB", "213", "KB", "10", "of", "13"] in lines
    assert [line[0] for line in lines if line and line[0] in ("fp32", "fp16", "int8")] == [
        "fp32",
        "fp16",
        "int8",
    ]
    assert "recording in the bundle" in captured.err


def test_json_is_the_report_and_nothing_else(
    golden_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert quantize(golden_bundle.path, "--output", tmp_path / "out", "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert report == json.loads((tmp_path / "out" / "quantization.json").read_text())


def test_skipped_recordings_are_named(
    golden_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.wav").write_text("no audio")
    listing = tmp_path / "wavs.txt"
    listing.write_text(f"broken.wav\n{DEMO / 'flite-kal.wav'}\n")
    assert quantize(golden_bundle.path, "--output", tmp_path / "o", "--calibration", listing) == 0
    assert f"skipped {tmp_path / 'broken.wav'}: cannot" in capfd.readouterr().err


def test_a_mistake_is_one_message(
    golden_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = quantize(golden_bundle.path, "--output", tmp_path / "out", "--keep-fp16", "nothing")
    captured = capfd.readouterr()
    assert code == 2
    assert captured.err.startswith("Error: no network has a layer nothing")
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


def test_layers_to_keep_may_be_given_in_pieces(
    golden_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert quantize(golden_bundle.path, "--output", tmp_path / "all", "--json") == 0
    report = json.loads(capfd.readouterr().out)
    names = [one["layer"] for one in report["layers"] if one["type"] == "LSTM"]
    first, second, third = names
    arguments = ["--keep-fp16", f"{first},{second}", "--keep-fp16", third, "--json"]
    assert quantize(golden_bundle.path, "--output", tmp_path / "kept", *arguments) == 0
    kept = json.loads(capfd.readouterr().out)["layers"]
    assert {one["precision"] for one in kept if one["type"] == "LSTM"} == {"fp16"}


def test_the_calibration_recordings_are_judged_on_if_no_others_are_named(
    golden_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = quantize(
        golden_bundle.path,
        *("--output", tmp_path / "out"),
        *("--calibration", DEMO / "flite-kal.wav"),
        *("--reference", DEMO / "transcripts.txt"),
        *("--max-wer-increase", "5"),
        "--json",
    )
    captured = capfd.readouterr()
    assert code == 0, captured.err
    report = json.loads(captured.out)
    assert report["measure"] == "WER"
    assert [one["name"] for one in report["frontier"]] == ["int8"]
    assert "that of the calibration recordings" in captured.err


def test_recordings_beside_a_reference_are_not_taken_for_those_of_a_calibration(
    golden_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spoken").mkdir()
    shutil.copy(DEMO / "flite-kal.wav", tmp_path / "spoken")
    reference = tmp_path / "spoken" / "transcripts.txt"
    reference.write_text("flite-kal\tone two three\n")
    arguments = ["--output", tmp_path / "out", "--reference", reference, "--json"]
    assert quantize(golden_bundle.path, *arguments) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["measure"] == "WER"
    assert "calibration recordings" not in captured.err
