"""The conformer on whole utterances, against icefall's numbers and on its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad

from calve.errors import ConfigError
from calve_pruned_transducer.attention import relative_positions
from calve_pruned_transducer.builders import plain_conformer, reworked_conformer
from calve_pruned_transducer.config import ConformerConfig
from calve_pruned_transducer.encoder import output_lens
from calve_pruned_transducer.masks import padding_mask
from calve_transducer.layers.conversion import to_plain

from .conftest import BUILDERS, SIZES, close

LOG_EPSILON = math.log(1e-10)


def close_rows(actual: Any, expected: Any, lens: torch.Tensor) -> None:
    """Compare what is not padding."""
    assert actual.shape == expected.shape
    for row, length in enumerate(lens.tolist()):
        close(actual[row, :length], expected[row, :length])


@pytest.fixture(scope="module", params=["as trained", "plain"])
def encoder(request: pytest.FixtureRequest, model: Any) -> Any:
    return model.encoder if request.param == "as trained" else to_plain(model.encoder)


@torch.no_grad()
def test_front_end(encoder: Any, golden: dict[str, Any]) -> None:
    close(encoder.encoder_embed(golden["x"]), golden["encoder_embed"])


@torch.no_grad()
def test_positions(golden: dict[str, Any]) -> None:
    embedded = golden["encoder_embed"]
    close(relative_positions(embedded.size(1), 0, embedded), golden["pos_emb"])


@torch.no_grad()
def test_first_layer(encoder: Any, golden: dict[str, Any]) -> None:
    lens = golden["forward_full"]["out_lens"]
    padding = padding_mask(lens, golden["encoder_embed"].size(1))
    y, _, _ = encoder.encoder.layers[0](
        golden["encoder_embed"], golden["pos_emb"], padding.unsqueeze(1), padding
    )
    close_rows(y, golden["layer0_out"], lens)


@torch.no_grad()
def test_forward(encoder: Any, golden: dict[str, Any]) -> None:
    y, y_lens = encoder(golden["x"], golden["x_lens"])
    assert torch.equal(y_lens, golden["forward_full"]["out_lens"])
    close_rows(y, golden["forward_full"]["out"], y_lens)


@torch.no_grad()
def test_forward_with_convolutions_that_see_the_future(
    load: Callable[..., Any], golden: dict[str, Any]
) -> None:
    encoder = load(causal_convolution=False).encoder
    y, y_lens = encoder(golden["x"], golden["x_lens"])
    assert torch.equal(y_lens, golden["forward_noncausal"]["out_lens"])
    close_rows(y, golden["forward_noncausal"]["out"], y_lens)


@torch.no_grad()
def test_dynamic_chunk_training_draws_the_chunks_that_icefall_draws(
    load: Callable[..., Any], golden: dict[str, Any]
) -> None:
    encoder = load(dropout=0.0, layer_dropout=0.0, aux_layer_period=0).encoder.train()
    for case in golden["forward_dynamic_chunk"]:
        torch.manual_seed(case["torch_manual_seed"])
        y, y_lens = encoder(golden["x"], golden["x_lens"])
        close_rows(y, case["out"], y_lens)


def test_training_in_chunks_without_causal_convolutions_is_refused() -> None:
    config = ConformerConfig(
        **{**SIZES, "causal_convolution": False, "dynamic_chunk_training": True}
    )
    encoder = reworked_conformer(config).eval()
    with pytest.raises(ConfigError, match="could not stream"):
        encoder.train()
    assert not encoder.training


@torch.no_grad()
def test_evaluation_draws_nothing(model: Any, golden: dict[str, Any]) -> None:
    assert model.encoder.dynamic_chunk_training
    state = torch.random.get_rng_state()
    model.encoder(golden["x"], golden["x_lens"])
    assert torch.equal(torch.random.get_rng_state(), state)


@torch.no_grad()
def test_simulated_streaming(encoder: Any, golden: dict[str, Any], recipe: str) -> None:
    for case in golden["simulated"]:
        chunk_size, left_context = case["chunk_size"], case["left_context"]
        x, x_lens, expected = golden["x"], golden["x_lens"], case["out"]
        if chunk_size < 0 and recipe.endswith("5"):
            # icefall's stateless5 builds a meaningless mask here; the others attend to all.
            expected = golden["forward_full"]["out"]
        if case["decode_py_padding"] and chunk_size > 0:
            x = pad(x, (0, 0, 0, left_context), value=LOG_EPSILON)
            x_lens = x_lens + left_context
        y, y_lens = encoder.simulate_streaming(
            x, x_lens, chunk_size=chunk_size, left_context=left_context
        )
        assert torch.equal(y_lens, case["out_lens"])
        close_rows(y, expected, y_lens)


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("causal", [True, False])
@settings(max_examples=25)
@given(frames=st.integers(15, 60), padding=st.integers(1, 40), seed=st.integers(0, 1000))
@torch.no_grad()
def test_padding_and_the_rest_of_the_batch_do_not_change_an_utterance(
    build: Callable[..., Any], causal: bool, frames: int, padding: int, seed: int
) -> None:
    torch.manual_seed(seed)
    encoder = build(ConformerConfig(**{**SIZES, "causal_convolution": causal})).eval()
    x = torch.randn(2, frames + padding, 20)
    x[0, frames:] = LOG_EPSILON
    alone, alone_lens = encoder(x[:1, :frames], torch.tensor([frames]))
    together, lens = encoder(x, torch.tensor([frames, frames + padding]))
    assert alone.size(1) == alone_lens.item() == lens[0].item()
    # The reworked front end's last frame sees one frame behind the utterance (see below), and
    # attention and convolution spread it.
    if build is plain_conformer or frames % 4 != 3:
        close(together[0, : lens[0]], alone[0])


@torch.no_grad()
def test_the_last_frame_sees_one_frame_of_padding_when_the_length_is_4k_plus_3(
    model: Any, recipe: str, golden: dict[str, Any]
) -> None:
    sees_padding = recipe != "pruned_transducer_stateless"
    front_end = model.encoder.encoder_embed
    for frames in (40, 41, 42, 43):
        x = golden["x"][:1, :frames]
        alone, padded = front_end(x), front_end(pad(x, (0, 0, 0, 8), value=LOG_EPSILON))
        last = alone.size(1) - 1
        close(padded[:, :last], alone[:, :last])
        differs = not torch.allclose(padded[:, last], alone[:, last], rtol=0.0, atol=1e-3)
        assert differs == (sees_padding and frames % 4 == 3)


@pytest.mark.parametrize("build", BUILDERS)
@torch.no_grad()
def test_lengths_count_the_frames_that_the_convolutions_leave(build: Callable[..., Any]) -> None:
    encoder = build(ConformerConfig(**SIZES)).eval()
    for frames in range(7, 40):
        for dtype in (torch.int64, torch.float32):
            lens = output_lens(torch.tensor([frames], dtype=dtype))
            assert lens.dtype == dtype
            assert lens.item() == ((frames - 1) // 2 - 1) // 2
        assert encoder.encoder_embed(torch.zeros(1, frames, 20)).size(1) == lens.item()


@pytest.mark.parametrize("build", BUILDERS)
def test_training_reaches_every_parameter_with_finite_gradients(build: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    config = ConformerConfig(
        **{**SIZES, "num_encoder_layers": 3}, dynamic_chunk_training=True, aux_layer_period=1
    )
    encoder = build(config).train()
    # Far too short a second row: chunks of it alone are all padding.
    y, _ = encoder(torch.randn(2, 90, 20), torch.tensor([90, 9]), warmup=0.5)
    y.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_auxiliary_layers_add_no_parameters_and_matter_only_in_training() -> None:
    sizes = {**SIZES, "num_encoder_layers": 3, "dropout": 0.0, "layer_dropout": 0.0}
    single = reworked_conformer(ConformerConfig(**sizes))
    mixed = reworked_conformer(ConformerConfig(**sizes, aux_layer_period=1))
    mixed.load_state_dict(single.state_dict())
    x, lens = torch.randn(2, 33, 20), torch.tensor([33, 33])
    with torch.no_grad():
        assert torch.equal(single.eval()(x, lens)[0], mixed.eval()(x, lens)[0])
        assert not torch.allclose(single.train()(x, lens)[0], mixed.train()(x, lens)[0])


def test_a_chunk_of_nothing_is_refused() -> None:
    encoder = reworked_conformer(ConformerConfig(**SIZES))
    with pytest.raises(ConfigError, match="chunk of 0"):
        encoder.simulate_streaming(
            torch.zeros(1, 20, 20), torch.tensor([20]), chunk_size=0, left_context=4
        )
