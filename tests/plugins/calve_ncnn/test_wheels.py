"""Whether a pair of wheels is one that was tested."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from calve_ncnn.wheels import TESTED_PAIRS, diagnose

CONSTRAINTS = Path(__file__).resolve().parents[3] / "constraints.txt"


def _install(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.parametrize(("pnnx", "ncnn"), TESTED_PAIRS)
def test_a_tested_pair_is_well(monkeypatch: pytest.MonkeyPatch, pnnx: str, ncnn: str) -> None:
    _install(monkeypatch, pnnx=pnnx, ncnn=ncnn)
    (found,) = diagnose()
    assert (found.outcome, found.fix) == ("ok", None)
    assert pnnx in found.detail
    assert ncnn in found.detail


def test_another_pair_is_a_warning_with_the_newest_tested_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (pnnx, _), (_, ncnn) = TESTED_PAIRS[:2]
    _install(monkeypatch, pnnx=pnnx, ncnn=ncnn)
    (found,) = diagnose()
    assert found.outcome == "warn"
    assert found.fix == f"pip install pnnx=={TESTED_PAIRS[0][0]} ncnn=={TESTED_PAIRS[0][1]}"


def test_a_wheel_that_is_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, ncnn="1.0.20261020")
    (found,) = diagnose()
    assert found.outcome == "missing"
    assert "pnnx" in found.detail


def test_the_pinned_pair_is_the_newest_tested_one() -> None:
    pins = dict(line.split("==") for line in CONSTRAINTS.read_text().splitlines() if "==" in line)
    assert (pins["pnnx"], pins["ncnn"]) == TESTED_PAIRS[0]
