"""``calve demo``; ``tests/real`` and the README's test run all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from invoking import invoke

from calve.cli.demo import demo
from calve.errors import ExportError

pytestmark = pytest.mark.usefixtures("bundled_plugins")


@pytest.mark.parametrize("name", ["digits-lstm", "builtin:digits-lstm"])
def test_a_model_may_be_called_as_in_other_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked: list[tuple[str, str, Path]] = []

    def export(recipe: str, *, checkpoint: str, output: Path, **options: Any) -> None:
        asked.append((recipe, checkpoint, output))
        raise ExportError("that is enough")

    monkeypatch.setattr("calve.cli.demo.export", export)
    result = invoke(demo, ["--model", name, "--output", str(tmp_path)])
    assert "that is enough" in result.output
    assert asked == [
        ("lstm_transducer_stateless2", "builtin:digits-lstm", tmp_path / "digits-lstm")
    ]
