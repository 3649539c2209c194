from __future__ import annotations

import errno
import multiprocessing.synchronize
import operator
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

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


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no PYTHONSAFEPATH")
def test_worker_processes_import_nothing_from_the_current_folder(tmp_path: Path) -> None:
    current = tmp_path / "current"
    current.mkdir()
    (current / "threading.py").write_text(
        "raise SystemExit('threading.py of the current folder ran')"
    )
    script = tmp_path / "squares.py"
    script.write_text(
        "import math\n"
        "from calve.common.parallel import ordered_map\n"
        "if __name__ == '__main__':\n"
        "    print(*ordered_map(math.isqrt, [4, 9, 16], jobs=2))\n"
    )
    finished = subprocess.run(
        [sys.executable, str(script)], cwd=current, capture_output=True, text=True, timeout=60
    )
    assert finished.stdout.split() == ["2", "3", "4"], finished.stderr


def test_the_environment_is_as_before_when_the_work_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    assert list(ordered_map(operator.neg, [1], jobs=2)) == [-1]
    assert "PYTHONSAFEPATH" not in os.environ


def test_no_semaphores_are_a_message_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", read_only)
    with pytest.raises(CalveError, match="Read-only file system") as caught:
        list(ordered_map(process_of, range(2), jobs=2))
    assert caught.value.where == "/dev/shm"
    assert "--jobs 1" in (caught.value.fix or "")
