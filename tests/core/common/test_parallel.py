from __future__ import annotations

import operator
import os
import time
from collections.abc import Iterator
from functools import partial

import pytest

from calve.common.parallel import ordered_map
from calve.errors import CalveError, DataError


def process_of(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def fail(item: int) -> int:
    if item == 3:
        raise DataError("three is too many", where="item 3", fix="count to two")
    return item


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_results_come_in_the_order_of_the_items(jobs: int, count: int) -> None:
    found = ordered_map(partial(operator.mul, 3), range(count), jobs=jobs, items_per_task=4)
    assert list(found) == [3 * item for item in range(count)]


def test_the_work_is_done_by_several_processes_and_not_by_this_one() -> None:
    workers = set(ordered_map(process_of, range(20), jobs=2))
    assert len(workers) == 2
    assert os.getpid() not in workers


def test_items_are_taken_only_as_results_are() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(1000):
            taken += 1
            yield item

    results = ordered_map(partial(operator.mul, 3), items(), jobs=2)
    assert [next(results) for _ in range(5)] == [0, 3, 6, 9, 12]
    assert taken < 20


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_deliberate_error_keeps_its_parts_on_the_way_back(jobs: int) -> None:
    with pytest.raises(DataError) as caught:
        list(ordered_map(fail, range(10), jobs=jobs))
    assert (caught.value.where, caught.value.fix) == ("item 3", "count to two")


def vanish(_: int) -> None:
    os._exit(1)


def test_a_worker_that_vanishes_is_one_clear_error() -> None:
    with pytest.raises(CalveError, match="a worker process ended without a result") as caught:
        list(ordered_map(vanish, range(10), jobs=2))
    assert "__main__" in (caught.value.fix or "")
