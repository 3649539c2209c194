from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from calve.api import StreamingGeometry
from calve_ncnn.interface import networks_to_trace

CONV_EMFORMER = {"arch": 1}


class Summing(nn.Module):
    """Adds up features; its two states count streams on different axes."""

    geometry = StreamingGeometry(shift=4, overlap=2, subsampling_factor=2, dynamic=False)
    feature_dim = output_dim = 3
    state_batch_axis: Mapping[str, int] = {"sum": 0, "last": 1}

    def init_states(self, batch_size: int) -> dict[str, Tensor]:
        return {"sum": torch.zeros(batch_size, 1, 3), "last": torch.zeros(2, batch_size, 3)}

    def stream(
        self, x: Tensor, x_lens: Tensor, states: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        y = x[:, 1:-1:2] + states["sum"]
        after = {"sum": x.sum(1, keepdim=True), "last": x[:, -2:].transpose(0, 1)}
        return y, (x_lens - 2) / 2, after


def encoder_to_trace(table: Mapping[str, int | str]) -> Any:
    decoder = nn.Module()
    decoder.context_size = 2
    decoder.embedding = nn.Embedding(5, 3)
    decoder.combine = nn.Identity()
    model = SimpleNamespace(decoder=decoder, joiner=_Joiner())
    return networks_to_trace(Summing(), model, table)[0]


class _Joiner(nn.Module):
    def forward(self, encoder_out: Tensor, decoder_out: Tensor) -> Tensor:
        return encoder_out + decoder_out


def test_an_encoder_is_fed_a_frame_count_before_its_states() -> None:
    network = encoder_to_trace({"arch": "summing"})
    assert [tuple(one.shape) for one in network.inputs] == [(1, 6, 3), (1,), (1, 1, 3), (2, 1, 3)]
    assert network.inputs[1].tolist() == [6.0]
    assert network.stream_axes == (0, None, 0, 1)
    assert network.outputs == ("out0", "out2", "out3")
    assert network.module(*network.inputs)[1].tolist() == [2.0]


def test_an_encoder_that_sherpa_ncnn_feeds_no_frame_count_computes_the_same_without() -> None:
    network, counted = encoder_to_trace(CONV_EMFORMER), encoder_to_trace({"arch": "summing"})
    assert network.stream_axes == (0, 0, 1)
    assert network.outputs == ("out0", "out1", "out2")
    x, total, last = (torch.randn_like(one) for one in network.inputs)
    expected = counted.module(x, counted.inputs[1], total, last)
    actual = network.module(x, total, last)
    assert len(actual) == 3
    for one, other in zip(actual, (expected[0], *expected[2:]), strict=True):
        assert torch.equal(one, other)
