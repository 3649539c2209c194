from __future__ import annotations

import operator
from functools import partial

import pytest

from calve.api import DataError
from calve.common.progress import NO_PROGRESS
from calve_lhotse.parallel import parallel_map
from calve_lhotse.synthesis import Reading, speak


class Counting:
    """Remembers how far the work said it was."""

    def start(self, title: str, total: int | None = None) -> None:
        self.title, self.total, self.done = title, total, 0

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount

    def finish(self) -> None:
        self.total_when_finished = self.done


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_results_come_in_the_order_of_the_items(jobs: int, count: int) -> None:
    progress = Counting()
    results = parallel_map(
        partial(operator.mul, 3), range(count), jobs=jobs, title="tripling", progress=progress
    )
    assert results == [3 * item for item in range(count)]
    assert (progress.title, progress.total) == ("tripling", count)
    assert progress.total_when_finished == count


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_a_worker_reaches_the_caller(jobs: int) -> None:
    with pytest.raises(ZeroDivisionError):
        parallel_map(
            partial(operator.truediv, 1), [2, 1, 0], jobs=jobs, title="", progress=NO_PROGRESS
        )


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_deliberate_error_keeps_its_parts_on_the_way_back(jobs: int, tmp_path) -> None:
    bad = Reading("one", "no-such-synthesizer", "voice")
    with pytest.raises(DataError) as caught:
        parallel_map(
            partial(speak, wav=tmp_path / "a.wav"),
            [bad] * 3,
            jobs=jobs,
            title="",
            progress=NO_PROGRESS,
        )
    assert caught.value.fix is not None
    assert "no-such-synthesizer" in caught.value.what
