from __future__ import annotations

import pytest
import torch
from torch import nn

from calve_onnx.recurrence import UnrolledLstm, with_unrolled_lstms


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("frames", [1, 2, 17])
def test_an_unrolled_lstm_computes_what_the_kernel_computes(streams: int, frames: int) -> None:
    torch.manual_seed(frames)
    lstm = nn.LSTM(7, 11, proj_size=5, batch_first=True)
    x = torch.randn(streams, frames, 7)
    states = torch.randn(1, streams, 5), torch.randn(1, streams, 11)
    with torch.no_grad():
        expected, expected_states = lstm(x, states)
        y, next_states = UnrolledLstm(lstm)(x, states)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(next_states, expected_states, rtol=0, atol=1e-6)


def test_only_what_onnx_lacks_is_replaced_and_the_model_is_left_alone() -> None:
    model = nn.ModuleList([nn.LSTM(4, 6, proj_size=4), nn.LSTM(4, 6), nn.Linear(4, 4)])
    unrolled, plain, linear = with_unrolled_lstms(model).children()
    assert isinstance(unrolled, UnrolledLstm)
    assert isinstance(plain, nn.LSTM)
    assert linear.weight is model[2].weight
    assert isinstance(model[0], nn.LSTM)
