"""``calve inspect``."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from invoking import invoke

from calve.cli.inspect import inspect
from calve.exporting.inspection import inspect_file
from calve.models.checkpoint_files import save_model


def test_text_shows_numbers_in_tables_and_options_by_name(golden_checkpoint: Path) -> None:
    shown = invoke(inspect, [golden_checkpoint])
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["kind:", "checkpoint"] in lines
    assert ["encoder", "74", "168,407", "float32"] in lines
    assert ["rnn_hidden_size", "=", "48"] in lines


def test_json_has_everything(golden_checkpoint: Path) -> None:
    shown = invoke(inspect, [golden_checkpoint, "--json"])
    assert json.loads(shown.stdout) == inspect_file(golden_checkpoint)


def test_control_characters_of_the_file_do_not_reach_the_terminal(tmp_path: Path) -> None:
    params = {"note\x1b[31m": "red\x1b[31m"}
    save_model(tmp_path / "a.pt", {"net\x1b.weight": torch.zeros(3, 4)}, params)
    shown = invoke(inspect, [tmp_path / "a.pt"])
    assert shown.exit_code == 0
    assert "\x1b" not in shown.stdout
    assert "\\x1b" in shown.stdout


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    shown = invoke(inspect, [tmp_path / "nothing.pt"])
    assert shown.exit_code == 1
    assert "nothing.pt" in shown.stderr
