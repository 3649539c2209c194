"""The processes of distributed training, and their communication.

Every process has a copy of the model and its own utterances; gradients are summed over all of them
(`torch.nn.parallel.DistributedDataParallel`). The processes make every decision together: whether
the batch is usable, whether the loss is finite, whether Ctrl-C was pressed. A process that decided
differently would wait for the others forever.

The module uses `torch.distributed` directly. Launchers such as Lightning and Accelerate own the
training loop, but calve's loop resumes bit for bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from calve.api import CalveError, ConfigError
from calve.protocols.loading import WHOLE, Shard

__all__ = ["Processes", "joined"]

T = TypeVar("T")


class Processes:
    """The processes of a training run, from the view of one of them.

    Args:
      shard: The shard of this process.
      device: The device of this process.
    """

    def __init__(self, shard: Shard, device: torch.device) -> None:
        self.rank, self.world_size = shard.rank, shard.world_size
        self.device = device

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def sharing_gradients(self, model: nn.Module, *, some_unused: bool = False) -> nn.Module:
        """Wrap ``model`` so that its gradients are means over all processes after backward.

        Args:
          some_unused: Whether some batches have parameters that do not contribute to the loss.
        """
        if self.world_size == 1:
            return model
        return DistributedDataParallel(
            model,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            find_unused_parameters=some_unused,
        )

    @contextmanager
    def explaining_deaths(self) -> Iterator[None]:
        """Translate communication errors of a forward or backward pass inside the block.

        Raises:
          CalveError: if another process has ended; other errors are not changed.
        """
        try:
            yield
        except RuntimeError as error:
            if self.world_size > 1 and _is_of_an_exchange(error):
                raise _gone(error) from error
            raise

    def sums(self, *numbers: float) -> list[float]:
        """Sum each number over all processes."""
        if self.world_size == 1:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        with _deaths_explained():
            distributed.all_reduce(values)
        return values.tolist()

    def gathered(self, value: T) -> list[T]:
        """Return the values of all processes in order of rank; plain data only."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        with _deaths_explained():
            distributed.all_gather_object(values, value)
        return values

    def from_first(self, function: Callable[[], T]) -> T:
        """Call ``function`` in the first process only and return its result in all.

        Raises:
          SystemExit: in the other processes, if it raises a `CalveError`; only the first prints it.
        """
        if self.world_size == 1:
            return function()
        outcome: list[Any] = [None, None]
        failure: CalveError | None = None
        if self.is_first:
            try:
                outcome[0] = function()
            except CalveError as error:
                failure, outcome[1] = error, error.exit_code
        with _deaths_explained():
            distributed.broadcast_object_list(outcome, src=0)
        if failure is not None:
            raise failure
        if outcome[1] is not None:
            raise SystemExit(outcome[1])
        result: T = outcome[0]
        return result


@contextmanager
def joined(shard: Shard, device: torch.device) -> Iterator[Processes]:
    """Connect this process to the others of the run inside the block.

    Raises:
      ConfigError: if this machine has fewer GPUs than processes.
      CalveError: if the processes cannot connect.
    """
    if shard.world_size == 1:
        yield Processes(WHOLE, device)
        return
    if device.type == "cuda":
        if device.index is None:
            device = _own_gpu()
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, rank=shard.rank, world_size=shard.world_size)
    except (RuntimeError, ValueError) as error:
        raise CalveError(
            f"process {shard.rank} of {shard.world_size} cannot reach the others: {error}",
            fix="check MASTER_ADDR and MASTER_PORT, or how torchrun was called",
        ) from error
    try:
        yield Processes(shard, device)
    finally:
        distributed.destroy_process_group()


def _own_gpu() -> torch.device:
    number, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= gpus:
        raise ConfigError(
            f"process {number} of this machine has no GPU: there are {gpus}",
            fix=f"start {gpus} at most, or give --device cpu",
        )
    return torch.device("cuda", number)


@contextmanager
def _deaths_explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise _gone(error) from error


def _is_of_an_exchange(error: RuntimeError) -> bool:
    # NCCL's errors have their own class; gloo's only name the file that raised them.
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def _gone(error: RuntimeError) -> CalveError:
    return CalveError(
        f"another process of this training run has ended: {str(error).splitlines()[0]}",
        fix="read its messages, then continue with --resume 1",
    )
