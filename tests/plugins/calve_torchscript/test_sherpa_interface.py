"""Every attribute and method that k2-fsa/sherpa's C++ uses, used as it does, from the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from calve.bundles.bundle import Bundle
from calve.models.loading import load_model
from calve_transducer.layers.conversion import to_plain

CPU = torch.device("cpu")
LAYERS, DIM, HIDDEN, VOCABULARY = 3, 32, 48, 30


@pytest.fixture(scope="module", params=["jit-trace", "jit-script"])
def networks(
    request: pytest.FixtureRequest, bundle_of: Callable[[str], Bundle]
) -> tuple[Any, Any, Any]:
    """Encoder, decoder and joiner as C++ gets them: from three files, or from one module."""
    folder = bundle_of(request.param).path
    if request.param == "jit-script":
        model = torch.jit.load(folder / "cpu_jit.pt")
        return model.encoder, model.decoder, model.joiner
    encoder, decoder, joiner = (
        torch.jit.load(folder / f"{name}_jit_trace.pt") for name in ("encoder", "decoder", "joiner")
    )
    return encoder, decoder, joiner


@pytest.fixture(scope="module")
def model(golden_checkpoint: Path) -> Any:
    return to_plain(load_model("lstm_transducer_stateless2", golden_checkpoint))


def test_the_encoder_is_known_by_its_class(networks: tuple[Any, Any, Any]) -> None:
    encoder, _, _ = networks
    assert encoder._c._type().name() == "RNN"


@pytest.mark.parametrize("streams", [1, 4])
def test_states_are_made_for_any_number_of_streams(
    networks: tuple[Any, Any, Any], streams: int
) -> None:
    encoder, _, _ = networks
    hidden, cell = encoder.get_init_states(streams, CPU)
    assert hidden.shape == (LAYERS, streams, DIM)
    assert cell.shape == (LAYERS, streams, HIDDEN)
    assert not hidden.any()
    assert not cell.any()


@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("frames", [9, 41])
def test_the_encoder_takes_and_gives_pairs_of_states(
    networks: tuple[Any, Any, Any], model: Any, streams: int, frames: int
) -> None:
    encoder, _, _ = networks
    torch.manual_seed(frames)
    states = encoder.get_init_states(streams, CPU)
    expected_states = model.encoder.init_states(streams)
    x_lens = torch.full((streams,), frames, dtype=torch.int64)
    for _ in range(12):
        x = torch.randn(streams, frames, 80) - 5
        with torch.no_grad():
            y, y_lens, states = encoder(x, x_lens, states)
            expected, _, expected_states = model.encoder.stream(x, x_lens, expected_states)
        assert y.shape == (streams, (frames - 5) // 4, DIM)
        assert y_lens.tolist() == [y.size(1)] * streams
        assert y_lens.dtype == torch.int64
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)
    for ours, theirs in zip(states, expected_states.values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_the_context_size_is_read_from_the_convolution(networks: tuple[Any, Any, Any]) -> None:
    _, decoder, _ = networks
    assert decoder.conv.weight.size(2) == 2


def test_the_decoder_takes_contexts_without_padding(
    networks: tuple[Any, Any, Any], model: Any
) -> None:
    _, decoder, _ = networks
    contexts = torch.tensor([[0, 0], [-1, 0], [5, 29]])
    with torch.no_grad():
        decoder_out = decoder(contexts, False)
        expected = model.decoder(contexts, need_pad=False)
    assert decoder_out.shape == (3, 1, DIM)
    torch.testing.assert_close(decoder_out, expected, rtol=0, atol=1e-6)


def test_the_joiner_projects_what_it_is_given(networks: tuple[Any, Any, Any], model: Any) -> None:
    _, _, joiner = networks
    torch.manual_seed(0)
    encoder_out, decoder_out = torch.randn(5, DIM), torch.randn(5, DIM)
    with torch.no_grad():
        logits = joiner(encoder_out, decoder_out)
        expected = model.joiner(encoder_out, decoder_out)
    assert logits.shape == (5, VOCABULARY)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
