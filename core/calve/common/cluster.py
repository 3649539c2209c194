"""Executor on an existing Dask cluster, with the interface of `concurrent.futures`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from calve.errors import CalveError, ConfigError

__all__ = ["cluster_executor"]

_SECONDS_TO_CONNECT = 20
_SECONDS_FOR_A_WORKER = 60


@contextmanager
def cluster_executor(scheduler: str) -> Iterator[tuple[Executor, int]]:
    """An executor whose tasks run on a cluster, and how many can run at a time.

    If a worker is lost, another one repeats its tasks. calve must be installed on the workers, and
    they must see the same files under the same paths.

    Args:
      scheduler: Address of the cluster's scheduler, for example ``tcp://host:8786``.

    Raises:
      ConfigError: if Dask is not installed.
      CalveError: if the scheduler cannot be reached, has no workers, or gives up on a task.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise ConfigError(
            "Dask is not installed", where="--dask", fix="pip install 'calve[dask]'"
        ) from error
    try:
        client = Client(scheduler, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise CalveError(
            f"cannot reach the scheduler of a Dask cluster: {error}",
            where=f"--dask {scheduler}",
            fix="start one with `dask scheduler`, and give the address that it prints",
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_SECONDS_FOR_A_WORKER)
        except TimeoutError as error:
            raise CalveError(
                "the Dask cluster has no workers",
                where=f"--dask {scheduler}",
                fix=f"start some with `dask worker {scheduler}`",
            ) from error
        try:
            yield client.get_executor(pure=False), sum(client.nthreads().values())
        except KilledWorker as error:
            raise CalveError(
                f"a task was given up, because every worker that took it was lost: {error}",
                where=f"--dask {scheduler}",
                fix="give the workers more memory, and look at their logs",
            ) from error
