from __future__ import annotations

import pytest
import torch

from calve.api import CalveError, ConfigError
from calve.protocols.loading import WHOLE, Shard
from calve_transducer.training.processes import Processes, joined

CPU = torch.device("cpu")


def test_a_process_that_is_alone_talks_to_itself() -> None:
    with joined(WHOLE, CPU) as processes:
        assert processes.is_first
        assert processes.sums(1, 2.5) == [1, 2.5]
        assert processes.gathered("plain") == ["plain"]
        assert processes.from_first(lambda: 7) == 7
        model = torch.nn.Linear(2, 2)
        assert processes.sharing_gradients(model) is model


def test_more_processes_than_gpus_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(ConfigError, match="process 2 of this machine has no GPU: there are 2"),
        joined(Shard(2, 3), torch.device("cuda")),
    ):
        pass


def test_processes_that_nobody_brings_together_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CalveError, match="cannot reach the others"), joined(Shard(1, 2), CPU):
        pass


def test_only_a_broken_exchange_is_explained_as_a_death() -> None:
    two = Processes(Shard(rank=0, world_size=2), CPU)
    gone = r"another process of this training run has ended: .*pair\.cc"
    with pytest.raises(CalveError, match=gone), two.explaining_deaths():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes"), two.explaining_deaths():
        raise RuntimeError("shapes do not fit")
