"""What ``calve inspect`` shows of TorchScript files, whose code it must not run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from calve_torchscript.inspection import inspect


class Module(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


def test_an_archive_is_listed_and_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.jit.trace(Module(), torch.zeros(1, 3)).save(str(tmp_path / "a.pt"))

    def load(*given: object, **named: object) -> None:
        raise AssertionError("the file is loaded")

    monkeypatch.setattr("torch.jit.load", load)
    monkeypatch.setattr("torch.load", load)
    found = inspect(tmp_path / "a.pt")
    assert found is not None
    assert found["kind"] == "TorchScript archive"
    assert found["bytes of tensors"] >= 4 * (3 * 4 + 4)
    assert any("linear" in row["file"] for row in found["code"])
    assert all(row["bytes"] > 0 for row in found["code"])


def test_checkpoints_and_other_archives_are_left_to_others(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.zeros(3)}}, tmp_path / "checkpoint.pt")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("code.py", "print()")
    (tmp_path / "text.txt").write_text("text")
    assert all(inspect(path) is None for path in tmp_path.iterdir())
