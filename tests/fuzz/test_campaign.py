"""Malformed files of every format: nothing may crash, hang, act, or fail without an explanation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from fuzzing.campaign import Campaign, planned, report, summary
from fuzzing.formats import FORMATS
from fuzzing.materials import make_materials

_SEED = int(os.environ.get("CALVE_FUZZ_SEED", "1"))


@pytest.fixture(scope="session")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sound files; making them takes half a minute."""
    return make_materials(tmp_path_factory.mktemp("fuzz") / "materials")


def run(names: Sequence[str], materials: Path, scratch: Path) -> None:
    campaign = Campaign(_SEED, materials, scratch)
    findings = list(campaign.run(names, servers=min(4, os.cpu_count() or 1)))
    print(summary(findings))
    faulty = [report(finding, _SEED) for finding in findings if finding.faults]
    assert not faulty, "\n\n".join([f"{len(faulty)} of {len(findings)} mutations:", *faulty])


@pytest.mark.timeout(600)
def test_one_malformed_file_of_every_format(materials: Path, tmp_path: Path) -> None:
    run([f"{one.name}/0" for one in FORMATS], materials, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand_malformed_files(materials: Path, tmp_path: Path) -> None:
    run(planned(2000), materials, tmp_path)
