"""k2's walker, and a search on it, in the conformance kit; both run in k2's own environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from calve.testing import DecoderConformance, FsaBackendConformance


@pytest.fixture(autouse=True)
def k2_is_elsewhere(k2_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALVE_K2_PYTHON", str(k2_python))


class TestK2Walker(FsaBackendConformance):
    backend = "k2-elsewhere"


class TestFastBeamSearchOnK2(DecoderConformance):
    decoder = "fast_beam_search"
    options = {"fsa_backend": "k2-elsewhere"}  # noqa: RUF012
