"""What is written for TensorBoard, read by TensorBoard."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from calve.api import CalveError
from calve_transducer.training.metrics import Scalars


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_numbers_can_be_read_as_soon_as_they_are_written(tmp_path: Path) -> None:
    scalars = Scalars(tmp_path / "tensorboard", 1)
    scalars.write(1, {"train/loss": 2.5, "train/learning_rate": 0.25})
    scalars.write(2, {"train/loss": 1.5})
    assert read(tmp_path / "tensorboard") == {
        "train/loss": [(1, 2.5), (2, 1.5)],
        "train/learning_rate": [(1, 0.25)],
    }
    scalars.close()


def test_what_a_continued_run_writes_supersedes_what_came_after_its_checkpoint(
    tmp_path: Path,
) -> None:
    for first_step, loss in ((1, 4.0), (3, 2.0)):
        scalars = Scalars(tmp_path, first_step)
        for step in range(first_step, 5):
            scalars.write(step, {"train/loss": loss})
        scalars.close()
    assert read(tmp_path) == {"train/loss": [(1, 4.0), (2, 4.0), (3, 2.0), (4, 2.0)]}


def test_a_full_disk_is_an_error_when_it_happens(tmp_path: Path) -> None:
    scalars = Scalars(tmp_path, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(CalveError, match="cannot write TensorBoard's numbers: File too large"):
            scalars.write(1, {"train/loss": 1.0, "train/learning_rate": 1.0})
        scalars.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
