"""The export form of the conformer against the conformer itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from calve.errors import ConfigError
from calve_pruned_transducer.builders import reworked_conformer
from calve_pruned_transducer.elementary import ElementaryConformer
from calve_pruned_transducer.export_form import export_form
from calve_transducer.layers.conversion import to_plain

from .conftest import BUILDERS, SIZES, close, conformer

CHUNKS = 12


def by_layer(states: dict[str, torch.Tensor], name: str, layers: int) -> torch.Tensor:
    """(N, L * T, D) -> (L, N, T, D)."""
    return torch.stack(states[name].chunk(layers, 1))


@torch.no_grad()
def check_same_steps(encoder: Any, streams: int, feature_dim: int) -> None:
    """Chained segments through both forms: outputs, lengths, states."""
    device = export_form(encoder)
    geometry = device.geometry
    layers = len(encoder.encoder.layers)
    theirs, ours = encoder.init_states(streams), device.init_states(streams)
    torch.manual_seed(1)
    for _ in range(CHUNKS):
        x = torch.randn(streams, geometry.segment, feature_dim)
        x_lens = torch.full((streams,), geometry.segment)
        expected, expected_lens, theirs = encoder.stream(x, x_lens, theirs)
        y, y_lens, ours = device.stream(x, x_lens, ours)
        close(y, expected)
        assert torch.equal(y_lens, expected_lens)
        close(by_layer(ours, "attention", layers), theirs["attention"])
        close(by_layer(ours, "convolution", layers), theirs["convolution"])
        filled = theirs["processed"].clamp(max=geometry.left_context)
        assert torch.equal(ours["filled"].sum((1, 2)), filled[0])


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize(
    ("chunk_size", "left_context", "right_context"),
    [(4, 8, 0), (1, 1, 0), (1, 7, 2), (5, 3, 1), (3, 16, 4), (8, 5, 0)],
)
def test_it_computes_the_same_step_by_step(
    build: Callable[..., Any], streams: int, chunk_size: int, left_context: int, right_context: int
) -> None:
    encoder = conformer(
        build,
        decode_chunk_size=chunk_size,
        left_context=left_context,
        right_context=right_context,
    )
    check_same_steps(encoder, streams, SIZES["feature_dim"])


@pytest.mark.parametrize(("chunk_size", "left_context", "right_context"), [(8, 32, 0), (4, 16, 2)])
def test_it_computes_the_same_for_each_recipe(
    load: Callable[..., Any], chunk_size: int, left_context: int, right_context: int
) -> None:
    model = load(
        causal_convolution=True,
        decode_chunk_size=chunk_size,
        left_context=left_context,
        right_context=right_context,
    )
    check_same_steps(to_plain(model.encoder), streams=2, feature_dim=80)


@pytest.mark.parametrize("build", BUILDERS)
def test_streams_do_not_see_one_another(build: Callable[..., Any]) -> None:
    device = export_form(conformer(build, decode_chunk_size=2, left_context=4))
    torch.manual_seed(2)
    x = torch.randn(3, device.geometry.segment, SIZES["feature_dim"])
    x_lens = torch.full((3,), device.geometry.segment)
    states = {name: torch.rand_like(state) for name, state in device.init_states(3).items()}
    states["filled"] = torch.ones(3, 4).triu(1).flip(0).unsqueeze(1)
    together, _, after = device.stream(x, x_lens, states)
    for row in range(3):
        alone = {name: state[row : row + 1] for name, state in states.items()}
        y, _, next_states = device.stream(x[row : row + 1], x_lens[:1], alone)
        close(y[0], together[row])
        for name, state in next_states.items():
            close(state[0], after[name][row])


def test_weights_are_shared_but_for_what_is_folded() -> None:
    encoder = conformer(reworked_conformer)
    layer = encoder.encoder.layers[0]
    device = export_form(encoder).network.layers[0]
    assert device.feed_forward[0].weight is layer.feed_forward[0].weight
    assert device.self_attn.key.weight.data_ptr() == (layer.self_attn.in_proj.weight[16].data_ptr())


@pytest.mark.parametrize("build", BUILDERS)
@torch.no_grad()
def test_torchscript_compiles_the_step(build: Callable[..., Any]) -> None:
    encoder = conformer(build, decode_chunk_size=2, left_context=4, right_context=1)
    device = export_form(encoder)

    class Step(torch.nn.Module):
        def __init__(self, network: ElementaryConformer) -> None:
            super().__init__()
            self.network = network

        def forward(
            self,
            x: torch.Tensor,
            mask: torch.Tensor,
            attention: list[torch.Tensor],
            convolution: list[torch.Tensor],
            frames: int,
            left_context: int,
            right_context: int,
        ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
            positions = self.network.position_keys(frames, left_context)
            return self.network.step(
                x,
                mask,
                positions,
                attention,
                convolution,
                frames,
                left_context,
                right_context,
            )

    scripted = torch.jit.script(Step(device.network))
    x = torch.randn(2, device.geometry.segment, SIZES["feature_dim"])
    states = device.init_states(2)
    lists = [list(states[name].chunk(3, 1)) for name in ("attention", "convolution")]
    filled = torch.tensor([[[0.0] * 4 + [1.0] * 3]] * 2)
    expected, attention, convolution = device.step(x, filled, *lists)
    mask = torch.zeros(2, 1, 1, 7)
    mask[..., :4] = -1e4
    y, next_attention, next_convolution = scripted(x, mask, *lists, 3, 4, 1)
    close(y, expected)
    close(next_attention, attention)
    close(next_convolution, convolution)


def test_what_cannot_stream_has_no_export_form() -> None:
    with pytest.raises(ConfigError, match="cannot stream"):
        export_form(conformer(reworked_conformer, causal_convolution=False))
    with pytest.raises(ConfigError, match="without left context"):
        export_form(conformer(reworked_conformer, left_context=0))
