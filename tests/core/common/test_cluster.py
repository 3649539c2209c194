from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from calve.common.parallel import ordered_map
from calve.errors import CalveError, ConfigError, DataError


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster of two processes on this machine."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def process_of(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def run_out_of_time(_: int) -> None:
    raise TimeoutError("the disk does not answer")


def fail(item: int) -> int:
    if item == 3:
        raise DataError("three is too many", where="item 3", fix="count to two")
    return item


def square_or_die_once(mark: Path, item: int) -> int:
    """``item`` squared; the first process to come to item 5 is killed."""
    if item == 5 and not mark.exists():
        mark.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    return item**2


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_work_is_done_by_the_workers_in_the_order_of_the_items(scheduler: str) -> None:
    with Client(scheduler, set_as_default=False) as client:
        workers = set(client.run(os.getpid).values())
    assert set(ordered_map(process_of, range(20), jobs=1, dask=scheduler)) == workers
    squares = ordered_map(partial(pow, exp=2), range(50), jobs=1, items_per_task=4, dask=scheduler)
    assert list(squares) == [item**2 for item in range(50)]


def test_a_killed_worker_loses_nothing(scheduler: str, tmp_path: Path) -> None:
    work = partial(square_or_die_once, tmp_path / "killed")
    found = list(ordered_map(work, range(30), jobs=1, items_per_task=2, dask=scheduler))
    assert (tmp_path / "killed").exists()
    assert found == [item**2 for item in range(30)]


def test_a_deliberate_error_keeps_its_parts_on_the_way_back(scheduler: str) -> None:
    with pytest.raises(DataError) as caught:
        list(ordered_map(fail, range(10), jobs=1, dask=scheduler))
    assert (caught.value.where, caught.value.fix) == ("item 3", "count to two")


def test_a_task_that_kills_every_worker_is_one_clear_error(scheduler: str) -> None:
    with pytest.raises(CalveError, match="given up"):
        list(ordered_map(die, [0], jobs=1, dask=scheduler))


def test_a_scheduler_that_is_not_there_is_one_clear_error(monkeypatch) -> None:
    monkeypatch.setattr("calve.common.cluster._SECONDS_TO_CONNECT", 1)
    with pytest.raises(CalveError, match="cannot reach the scheduler") as caught:
        list(ordered_map(process_of, [0], jobs=1, dask="tcp://127.0.0.1:9"))
    assert "dask scheduler" in (caught.value.fix or "")


def test_a_cluster_without_workers_is_one_clear_error(monkeypatch) -> None:
    monkeypatch.setattr("calve.common.cluster._SECONDS_FOR_A_WORKER", 1)
    with (
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        pytest.raises(CalveError, match="has no workers"),
    ):
        list(ordered_map(process_of, [0], jobs=1, dask=cluster.scheduler_address))


def test_a_task_that_runs_out_of_time_is_not_a_cluster_without_workers() -> None:
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        pytest.raises(TimeoutError, match="the disk does not answer"),
    ):
        list(ordered_map(run_out_of_time, [0], jobs=1, dask=cluster.scheduler_address))


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ConfigError) as caught:
        list(ordered_map(process_of, [0], jobs=1, dask="tcp://127.0.0.1:9"))
    assert "calve[dask]" in (caught.value.fix or "")
