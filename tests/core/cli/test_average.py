"""``calve average``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from calve.cli.application import run
from calve.models.checkpoints import CheckpointChoice, load_state_dict


def average(*arguments: object) -> int:
    return run(["average", *map(str, arguments)])


@pytest.mark.parametrize(
    ("options", "averaging"),
    [
        (("--epoch", 4, "--avg", 2), "mean of 2 checkpoints"),
        (
            ("--epoch", 4, "--avg", 2, "--use-averaged-model", 1),
            "running average between epoch-2.pt and epoch-4.pt",
        ),
    ],
)
def test_the_file_loads_as_the_model_that_was_chosen(
    goldens: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    options: tuple[object, ...],
    averaging: str,
) -> None:
    output = tmp_path / "pretrained.pt"
    assert average("--exp-dir", goldens / "averaging", *options, "--output", output, "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert report["provenance"]["averaging"] == averaging
    values = {str(key).lstrip("-").replace("-", "_"): value for key, value in _pairs(options)}
    chosen = load_state_dict(CheckpointChoice(exp_dir=goldens / "averaging", **values))
    written = load_state_dict(CheckpointChoice(checkpoint=str(output)))
    assert written.state_dict.keys() == chosen.state_dict.keys()
    for key, tensor in chosen.state_dict.items():
        torch.testing.assert_close(written.state_dict[key], tensor, rtol=0, atol=0)
    assert report["size"] < (goldens / "averaging" / "epoch-4.pt").stat().st_size


def test_an_existing_file_is_kept_unless_told_otherwise(
    golden_checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "pretrained.pt"
    output.write_bytes(b"mine")
    assert average("--checkpoint", golden_checkpoint, "--output", output) == 2
    assert "--overwrite" in capfd.readouterr().err
    assert output.read_bytes() == b"mine"
    assert average("--checkpoint", golden_checkpoint, "--output", output, "--overwrite") == 0
    assert "the model of lstm_transducer_stateless2.ckpt.pt" in capfd.readouterr().out


def _pairs(options: tuple[object, ...]) -> list[tuple[object, object]]:
    return list(zip(options[::2], options[1::2], strict=True))
