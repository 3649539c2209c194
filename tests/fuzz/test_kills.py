"""Commands that write, killed at random moments and when files change."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from fuzzing.kills import WRITERS, Writer, kill_writer
from fuzzing.materials import make_materials

_SEED = int(os.environ.get("CALVE_FUZZ_SEED", "1"))
_KILLS = int(os.environ.get("CALVE_KILLS", "2"))
"""Kills of each command."""


@pytest.fixture(scope="session")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of the commands; making them takes half a minute."""
    return make_materials(tmp_path_factory.mktemp("kills") / "materials")


@pytest.mark.slow
@pytest.mark.timeout(600 + 120 * _KILLS)
@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_a_killed_command_leaves_no_half_output_and_the_next_run_makes_up_for_it(
    writer: Writer, materials: Path, tmp_path: Path
) -> None:
    rng = Random(f"{_SEED} {writer.name}")
    faulty = [kill for kill in kill_writer(writer, materials, tmp_path, rng, _KILLS) if kill.faults]
    assert not faulty, "\n".join(f"{kill.how}: {'; '.join(kill.faults)}" for kill in faulty)
