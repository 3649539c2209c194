from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hum_training import hum_run

from calve.api import CalveError
from calve.protocols.loading import WHOLE
from calve_transducer.losses.backend import TorchLossBackend
from calve_transducer.training.memory_scan import check_memory
from calve_transducer.training.processes import Processes
from calve_transducer.training.state import TrainingState


class TooLarge(TorchLossBackend):
    """Losses for which no memory is left."""

    @staticmethod
    def rnnt_loss_smoothed(**arguments: Any) -> Any:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")


@pytest.fixture
def state(tmp_path: Path) -> tuple[TrainingState, Any]:
    """Training that is told that it happens on a GPU; its tensors are on the CPU."""
    run = hum_run(tmp_path)
    config = run.configuration["training"]
    return TrainingState(run.model, run.train, config, Processes(WHOLE, torch.device("cuda"))), run


def check(state: tuple[TrainingState, Any], losses: Any) -> None:
    check_memory(state[0], state[1].train, state[1].configuration["training"], losses)


def test_a_batch_that_does_not_fit_is_named(state: tuple[TrainingState, Any]) -> None:
    with pytest.raises(CalveError, match="4 utterances") as raised:
        check(state, TooLarge)
    assert "hum-0-0-3" in raised.value.what
    assert "--max-duration" in str(raised.value.fix)


def test_batches_that_fit_leave_no_trace(state: tuple[TrainingState, Any]) -> None:
    before = {key: value.clone() for key, value in state[0].model.state_dict().items()}
    check(state, TorchLossBackend)
    for key, value in state[0].model.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(parameter.grad is None for parameter in state[0].model.parameters())
    assert next(iter(state[1].train)).cut_ids[0] == "hum-0-0-0"


def test_a_loader_that_cannot_tell_is_not_asked(
    state: tuple[TrainingState, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="calve.training"):
        check_memory(state[0], [], state[1].configuration["training"], TooLarge)  # type: ignore[arg-type]
    assert "the loader does not know them" in caplog.text
