"""``calve export``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calve.bundles.bundle import Bundle
from calve.cli.application import run
from calve.testing.tiny import make_tiny_model

pytestmark = pytest.mark.usefixtures("bundled_plugins")

RECIPE = "lstm_transducer_stateless2"


def export(*arguments: object) -> int:
    return run(["export", *map(str, arguments)])


def test_it_prints_parameters_sizes_and_parity(
    golden_checkpoint: Path,
    golden_tokens: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    output = tmp_path / "bundle"
    arguments = ("--checkpoint", golden_checkpoint, "--tokens", golden_tokens, "--output", output)
    assert export(RECIPE, *arguments, "--no-fp16", "--streaming-model", "1") == 0
    captured = capfd.readouterr()
    assert "total       172,494" in captured.out
    assert "encoder_jit_trace-pnnx.ncnn.bin" in captured.out
    assert "656 KB" in captured.out
    assert "greedy tokens: identical" in captured.out
    assert "[2/5] pnnx" in captured.err
    assert Bundle.open(output).manifest.precision["encoder"] == "fp32"


def test_json_on_stdout_is_the_whole_report(
    golden_checkpoint: Path,
    golden_tokens: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    output = tmp_path / "bundle"
    arguments = ("--checkpoint", golden_checkpoint, "--tokens", golden_tokens, "--output", output)
    assert export(RECIPE, *arguments, "--fp16", "1", "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert report["bundle"] == str(output)
    assert report["parameters"]["total"] == 172494
    assert report["precision"]["joiner"] == "fp16"
    assert report["files"].keys() == Bundle.open(output).manifest.files.keys()
    assert report["parity"]["tokens_equal"] is True


def test_help_lists_the_options_of_recipe_and_format(capsys: pytest.CaptureFixture[str]):
    assert export(RECIPE, "--help") == 0
    output = capsys.readouterr().out
    for option in ("--checkpoint", "--avg", "--tokens", "--fp16", "--rnn-hidden-size", "--json"):
        assert option in output


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        ((), 2, "--output"),
        (("--output", "bundle"), 2, "--checkpoint"),
        (("--output", "bundle", "--checkpoint", "nowhere.pt"), 1, "nowhere.pt"),
        (("--output", "bundle", "--exp-dir", "nowhere", "--epoch", "3"), 1, "nowhere"),
        (("--output", "bundle", "--format", "abacus"), 2, "abacus"),
        (("--output", "bundle", "--fp16", "perhaps"), 2, "perhaps"),
        (
            (
                *("--output", "bundle", "--streaming-model", "0"),
                *("--checkpoint", "builtin:digits-lstm"),
            ),
            2,
            "ncnn bundles stream; they cannot be for whole utterances",
        ),
    ],
)
def test_a_wrong_command_line_is_refused(
    arguments: tuple[str, ...],
    code: int,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert export(RECIPE, *arguments) == code
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.out == ""
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_stream_is_exported_for_whole_utterances_and_that_is_said(
    offline_checkpoint: Path,
    golden_tokens: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    arguments = ("--checkpoint", offline_checkpoint, "--tokens", golden_tokens)
    model = ("pruned_transducer_stateless5", *arguments, "--format", "state-dict")
    assert export(*model, "--output", tmp_path / "unsaid") == 0
    captured = capfd.readouterr()
    assert "whole utterances" in captured.out
    assert "Warning: the bundle is for whole utterances" in captured.err
    assert "cannot stream: its convolutions see future frames" in captured.err
    assert "--causal-convolution 1; if it was, and the checkpoint does not contain" in captured.err
    assert "its results are wrong" in captured.err
    assert export(*model, "--output", tmp_path / "said", "--streaming-model", 0, "--json") == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["streaming"] is False
    assert "Warning" not in captured.err
    assert export(*model, "--output", tmp_path / "must", "--streaming-model", 1) == 2
    captured = capfd.readouterr()
    assert "cannot stream: its convolutions see future frames" in captured.err
    assert not (tmp_path / "must").exists()


def test_what_lint_warns_of_is_said_with_what_to_do(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    recipe = "pruned_transducer_stateless5"
    checkpoint, tokens = make_tiny_model(recipe).write(tmp_path)
    model = ("--checkpoint", checkpoint, "--tokens", tokens, "--causal-convolution", 1)
    assert export(recipe, *model, "--output", tmp_path / "bundle") == 0
    said = capfd.readouterr().err
    assert "Warning: architecture: sherpa-ncnn does not know the architecture conformer" in said
    assert "export it to onnx" in said
