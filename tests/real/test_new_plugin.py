"""A generated plugin, really installed: from `calve plugins new` to text in every format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from environments import REPOSITORY, WITHOUT_INDEX, Environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RECIPE = "my_speech_transducer"
FORMATS = {
    "state-dict": (),
    "jit-trace": (),
    "jit-script": (),
    "ncnn": ("sherpa-ncnn",),
    "onnx": ("sherpa-onnx",),
}
"""Formats, and the clients that must hear the same."""


def install_wheel(environment: Environment) -> None:
    wheels = environment.folder / "wheels"
    environment.run("python", "-m", "pip", "wheel", *WITHOUT_INDEX, "-w", wheels, REPOSITORY)
    environment.install(*wheels.iterdir())


def install_checkout(environment: Environment) -> None:
    environment.install("--editable", REPOSITORY)


@pytest.mark.parametrize(
    ("install", "formats"), [(install_wheel, tuple(FORMATS)), (install_checkout, ("ncnn",))]
)
def test_a_new_plugin_works_everywhere_and_leaves_no_trace(
    install: Callable[[Environment], None],
    formats: tuple[str, ...],
    few_digits: Path,
    tmp_path: Path,
) -> None:
    environment = Environment(tmp_path)
    calve = environment.calve
    install(environment)
    calve("plugins", "new", "my-speech")
    environment.install("--editable", "my-speech")
    assert "ok" in calve("plugins", "check", "my_speech")
    assert RECIPE in calve("train", "--help")
    environment.run("python", "-m", "pytest", "-q", "my-speech", "-k", "not claimed_format_works")

    prepare = ("--data-dir", "data", "--jobs", 1, "--train-variants", 2, "--test-variants", 1)
    calve("prepare", "fsdd", "--root", few_digits, *prepare)
    corpus = ("--corpus", "fsdd", "--data-dir", "data")
    small = ("--encoder-dim", 48, "--num-encoder-layers", 2, "--num-epochs", 3)
    calve("train", RECIPE, *corpus, "--exp-dir", "exp", *small)
    checkpoint = ("--exp-dir", "exp", "--epoch", 3, "--avg", 1, "--use-averaged-model", 0)
    tokens = ("--tokens", "data/lang/tokens.txt")
    wav = next(few_digits.iterdir())
    for name in formats:
        calve("export", RECIPE, *checkpoint, *tokens, "--format", name, "--output", name)
        calve("lint", name)
        verified = calve("verify", name)
        assert all(client in verified for client in FORMATS[name]), verified
        transcript = json.loads(calve("transcribe", name, wav, "--json"))
        assert transcript["duration"] > 0.1
    assert "WER" in calve("decode", RECIPE, *checkpoint, *corpus, "--bundle", "ncnn")
    calve("quantize", "ncnn", "--output", "int8")
    calve("verify", "int8")

    environment.run("python", "-m", "pip", "uninstall", "--yes", "--quiet", "my-speech")
    assert "my_speech" not in calve("plugins", "list")
    assert RECIPE not in calve("train", "--help")
