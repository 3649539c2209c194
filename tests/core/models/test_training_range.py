"""Streaming in a way that a model was not trained for: a warning, or an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.bundles.bundle import Bundle
from calve.cli.application import run
from calve.data.geometry import StreamingGeometry
from calve.errors import ConfigError
from calve.models.training_range import check_trained_for, untrained

RECIPE = "pruned_transducer_stateless5"
FAR = StreamingGeometry(4 * 500, 11, 4, left_context=64)
CONFIG = {"dynamic_chunk_training": True}


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., tuple[int, Path]]:
    def export(*options: str) -> tuple[int, Path]:
        output = tmp_path / "bundle"
        arguments = ["--checkpoint", "builtin:digits-conformer", "--format", "jit-script"]
        return run(["export", RECIPE, *arguments, "--output", str(output), *options]), output

    return export


def test_an_encoder_that_any_geometry_suits_says_nothing() -> None:
    assert untrained("lstm", {}, FAR) == []
    assert untrained("not installed", {}, FAR) == []
    check_trained_for("lstm", {}, FAR)


@pytest.mark.usefixtures("bundled_plugins")
def test_what_is_found_is_an_error_when_asked_for() -> None:
    assert len(untrained("conformer", CONFIG, FAR)) == 1
    with pytest.raises(ConfigError, match="a chunk of 500 frames"):
        check_trained_for("conformer", CONFIG, FAR)


@pytest.mark.usefixtures("bundled_plugins")
def test_a_strict_export_leaves_nothing_behind(
    export: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = export("--left-context", "4000", "--strict")
    assert code == 2
    assert "a left context of 4000 frames is outside" in capsys.readouterr().err
    assert list(output.parent.iterdir()) == []


@pytest.mark.usefixtures("bundled_plugins")
def test_transcribing_warns_with_the_range_and_refuses_under_strict(
    export: Callable[..., tuple[int, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, bundle = export("--left-context", "400")
    assert code == 0
    warnings = capsys.readouterr().err
    assert "Warning: a left context of 400 frames is outside" in warnings
    assert Bundle.open(bundle).manifest.geometry.left_context == 400
    recording = tmp_path / "noise.wav"
    soundfile.write(recording, np.random.default_rng(0).normal(scale=0.1, size=16000), 16000)
    arguments = ["transcribe", str(bundle), str(recording), "--chunk-ms", "2000"]
    assert run(arguments) == 0
    warned = capsys.readouterr()
    assert "Warning: a chunk of 50 frames (2000 ms) is outside" in warned.err
    assert "Warning" not in warned.out
    assert run([*arguments, "--strict"]) == 2
    refused = capsys.readouterr()
    assert "a chunk of 50 frames (2000 ms) is outside" in refused.err
    assert refused.out == ""
