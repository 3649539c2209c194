"""Training in several processes: starts them on one machine and identifies this process.

The mechanics are torchrun's: it starts a command several times, on one machine or on many, and
tells each process its number in environment variables.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Sequence

from calve.errors import CalveError, ConfigError
from calve.protocols.loading import WHOLE, Shard

__all__ = ["is_launched", "launch", "must_launch", "own_shard"]

_SECONDS_TO_STOP = 300

_SEPARATE_STORES = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
"""With "1", torchrun opens a new store for each start of the processes."""


def is_launched() -> bool:
    """Whether torchrun, or a launcher that sets the same variables, started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def must_launch(world_size: int) -> bool:
    """Whether `launch` must start the processes of a run, because no launcher has."""
    return world_size > 1 and not is_launched()


def own_shard() -> Shard:
    """The shard of this process.

    Raises:
      ConfigError: if the environment variables are invalid, or restarted processes would not find
        each other.
    """
    if not is_launched():
        return WHOLE
    _check_restarts()
    try:
        return Shard(rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
    except ValueError as error:
        raise ConfigError(
            f"RANK is {os.environ['RANK']!r} and WORLD_SIZE {os.environ['WORLD_SIZE']!r}",
            where="environment variables",
            fix="start with torchrun, or unset them",
        ) from error


def _check_restarts() -> None:
    """Reject restarts that reuse the store of the processes that died.

    torchrun (2.13) keeps that store by default. A new process may then find the address of a dead
    one.
    """
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")
    if restarts != "0" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise ConfigError(
            "processes that torchrun restarts would connect to the processes that died",
            where=f"--max-restarts {restarts}",
            fix=f"set {_SEPARATE_STORES}=1 for torchrun, on every machine",
        )


def launch(arguments: Sequence[str], world_size: int) -> None:
    """Run ``calve`` with ``arguments`` in ``world_size`` processes and wait for them.

    Raises:
      CalveError: if a process fails; the others are stopped. It is a `ConfigError` if the first
        failed process ended with the exit code of one.
      KeyboardInterrupt: on Ctrl-C or SIGTERM. The processes receive the signal and have time to
        complete their batch.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=world_size,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        shutdown_timeout=_SECONDS_TO_STOP,
    )
    command = ["-m", "calve", *arguments]
    try:
        elastic_launch(config, sys.executable)(*command)
    except SignalException as signalled:
        raise KeyboardInterrupt from signalled
    except ChildFailedError as error:
        number, failure = error.get_first_failure()
        died = f"with exit code {failure.exitcode}"
        if failure.exitcode < 0:
            died = f"of signal {-failure.exitcode}"
        kind = ConfigError if failure.exitcode == ConfigError.exit_code else CalveError
        raise kind(
            f"process {number} of {world_size} ended {died}; the others were stopped",
            fix="its error message is above",
        ) from error
