from __future__ import annotations

import pytest

from calve.errors import CalveError, ConfigError
from calve.protocols.loading import WHOLE, Shard
from calve.training.launching import is_launched, launch, own_shard


@pytest.fixture(autouse=True)
def started_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_MAX_RESTARTS", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)


def test_a_process_started_by_hand_is_alone() -> None:
    assert not is_launched()
    assert own_shard() == WHOLE


def test_torchrun_tells_a_process_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert is_launched()
    assert own_shard() == Shard(1, 4)


@pytest.mark.parametrize(
    ("restarts", "shares_store", "is_refused"),
    [("0", "True", False), ("3", "False", False), ("3", "True", True)],
)
def test_restarts_are_refused_where_new_processes_could_meet_dead_ones(
    monkeypatch: pytest.MonkeyPatch, restarts: str, shares_store: str, is_refused: bool
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", restarts)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", shares_store)
    if not is_refused:
        assert own_shard() == Shard(1, 4)
        return
    with pytest.raises(ConfigError, match="processes that died") as refused:
        own_shard()
    assert refused.value.fix is not None
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in refused.value.fix


@pytest.mark.parametrize("rank", ["one", "4", "-1"])
def test_an_impossible_share_is_an_error(monkeypatch: pytest.MonkeyPatch, rank: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError):
        own_shard()


def test_a_command_runs_in_as_many_processes_as_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    launch(["--version"], 2)
    assert capfd.readouterr().out.count("calve ") == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(["--no-such-option"], ConfigError), (["plugins", "info", "x"], CalveError)],
)
def test_a_command_that_fails_is_an_error_of_its_kind(
    arguments: list[str], error: type[CalveError], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(error, match=r"process \d of 2 ended with exit code") as raised:
        launch(arguments, 2)
    assert type(raised.value) is error
    assert capfd.readouterr().err
