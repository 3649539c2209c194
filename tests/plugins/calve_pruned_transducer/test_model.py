"""Whole models of the four recipes: loading, conversion, losses and gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from icefall_losses import compare_losses
from torch import nn
from torch.testing import assert_close

from calve.errors import CheckpointError, ConfigError
from calve.models.loading import ModelBuilder, load_model
from calve.registry.catalog import registry
from calve_transducer.layers.conversion import to_plain

FIRST = "pruned_transducer_stateless"
EVALUATED = (
    "eval",
    "eval_warmup0.5",
    "eval_balancer_always",
    "eval_empty_utt",
    "eval_am_scale",
    "eval_causal",
    "eval_dynamic_chunk",
)
TRAINING_CASES = {
    FIRST: (*EVALUATED, "train_nodropout"),
    f"{FIRST}2": (
        *EVALUATED,
        "eval_delay_penalty",
        "train_nodropout",
        "train_nodropout_warmup0.5",
        "train_nodropout_warmup0.5_balancer_always",
    ),
    f"{FIRST}5": (*EVALUATED, "eval_delay_penalty"),
}


def close(actual: Any, expected: Any) -> None:
    assert_close(actual, expected, rtol=0.0, atol=1e-5)


def test_the_checkpoint_fits_strictly_and_in_order(
    model: Any, checkpoint: Path, golden: dict[str, Any]
) -> None:
    weights = torch.load(checkpoint, weights_only=True)["model"]
    state = model.state_dict()
    shapes = {key: list(value.shape) for key, value in state.items()}
    assert list(shapes.items()) == list(golden["state_dict_keys_shapes"].items())
    assert all(torch.equal(state[key], value) for key, value in weights.items())
    assert [name for name, _ in model.named_parameters()] == golden["param_names"]
    assert [name for name, _ in model.named_buffers()] == golden["buffer_names"]
    assert sum(parameter.numel() for parameter in model.parameters()) == golden["num_params"]


def test_what_a_state_dict_cannot_tell_is_read_from_the_checkpoint_or_given(
    model: Any, recipe: str, checkpoint: Path, tmp_path: Path
) -> None:
    assert model.encoder.causal_convolution
    assert model.encoder.dynamic_chunk_training
    bare = tmp_path / "pretrained.pt"
    torch.save({"model": torch.load(checkpoint, weights_only=True)["model"]}, bare)
    assert not load_model(recipe, bare).encoder.causal_convolution
    nhead = model.encoder.encoder.layers[0].self_attn.nhead
    given: Any = load_model(recipe, bare, causal_convolution=True, nhead=nhead)
    assert given.encoder.causal_convolution
    with pytest.raises(ConfigError, match="--nhead 1 contradicts the checkpoint"):
        load_model(recipe, bare, nhead=1)


def test_an_option_cannot_change_what_the_checkpoint_says_of_its_weights(
    recipe: str, checkpoint: Path
) -> None:
    contradiction = "--causal-convolution 0 contradicts the checkpoint, where it is 1"
    with pytest.raises(ConfigError, match=contradiction):
        load_model(recipe, checkpoint, causal_convolution=False)
    stepping = {"decode_chunk_size": 3, "left_context": 9, "dropout": 0.5}
    agreeing: Any = load_model(recipe, checkpoint, causal_convolution=True, **stepping)
    assert agreeing.encoder.geometry.output_frames == 3
    assert agreeing.encoder.geometry.left_context == 9
    assert agreeing.encoder.dropout.p == 0.5


@torch.no_grad()
def test_decoder(model: Any, golden: dict[str, Any]) -> None:
    for module in (model.decoder, to_plain(model.decoder)):
        one = module(golden["decoder_ctx"], need_pad=False)
        close(one, golden["decoder_out_need_pad_False"])
        close(module(golden["decoder_seq"]), golden["decoder_out_need_pad_True"])


@torch.no_grad()
def test_joiner(model: Any, golden: dict[str, Any], recipe: str) -> None:
    case = golden["joiner"]
    for joiner in (model.joiner, to_plain(model.joiner)):
        close(joiner(case["encoder_out"], case["decoder_out"]), case["out"])
        encoder_out, decoder_out = case["encoder_out"][:, 0, 0], case["decoder_out"][:, 0, 0]
        projected = joiner.encoder_proj(encoder_out), joiner.decoder_proj(decoder_out)
        logits = joiner(*projected, project_input=False)
        if recipe == FIRST:
            close(logits, case["out_2d"])
        else:
            close(projected[0], case["encoder_proj"])
            close(projected[1], case["decoder_proj"].squeeze(1))
            close(logits, case["out_project_input_False"][:, 0, 0])


@torch.no_grad()
def test_projections_of_the_simple_loss(model: Any, golden: dict[str, Any], recipe: str) -> None:
    encoder_out = golden["forward_full"]["out"]
    decoder_out = golden["decoder_out_need_pad_False"]
    if recipe == FIRST:
        assert model.simple_am_proj(encoder_out) is encoder_out
        assert model.simple_lm_proj(decoder_out) is decoder_out
    else:
        close(model.simple_am_proj(encoder_out), golden["simple_am_proj"])
        close(model.simple_lm_proj(decoder_out), golden["simple_lm_proj"])


@torch.no_grad()
def test_a_plain_model_computes_what_icefalls_converted_model_computes(
    model: Any, golden: dict[str, Any], recipe: str
) -> None:
    if recipe == FIRST:
        assert to_plain(model).state_dict().keys() == model.state_dict().keys()
        return
    converted = golden["converted"]
    plain: Any = to_plain(model)
    state = plain.state_dict()
    # icefall's converter leaves the attention's projections scaled and adds a zero bias.
    differing = state.keys() ^ converted["keys_shapes"].keys()
    assert {key.split("self_attn.")[1] for key in differing} == {
        *("in_proj.weight_scale", "in_proj.bias_scale"),
        *("out_proj.weight_scale", "out_proj.bias_scale"),
        "linear_pos.bias",
    }
    for key, value in converted["some_weights"].items():
        close(state[key], value)
    for name, eps in converted["norm_eps_exp"].items():
        assert plain.get_submodule(name).eps == pytest.approx(eps, abs=1e-6)
    encoder_out, lens = plain.encoder(golden["x"], golden["x_lens"])
    for row, length in enumerate(lens.tolist()):
        close(encoder_out[row, :length], converted["forward_full_out"][row, :length])
    close(plain.decoder(golden["decoder_ctx"], need_pad=False), converted["decoder_out"])
    joined = plain.joiner(golden["joiner"]["encoder_out"], golden["joiner"]["decoder_out"])
    close(joined, converted["joiner_out"])


class Step(nn.Module):
    """``encoder.stream`` with its states as separate arguments, as exports need it."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.names = tuple(encoder.init_states(1))

    def forward(self, x: Any, lens: Any, *states: Any) -> Any:
        named = dict(zip(self.names, states, strict=True))
        y, y_lens, after = self.encoder.stream(x, lens, named)
        return y, y_lens, *after.values()


@torch.no_grad()
def test_a_step_of_a_plain_model_is_traceable(model: Any) -> None:
    step = Step(to_plain(model.encoder)).eval()
    states = model.encoder.init_states(1)
    segment = model.encoder.geometry.segment
    lens = torch.tensor([float(segment)])
    inputs = (torch.randn(1, segment, 80), lens, *states.values())
    traced = torch.jit.trace(step, inputs, check_trace=False)
    x = torch.randn(1, segment, 80)
    filled = [torch.rand_like(state) for state in states.values()]
    close(traced(x, lens, *filled), step(x, lens, *filled))


@pytest.fixture(scope="module")
def training(recipe: str, goldens: Path) -> dict[str, Any]:
    return torch.load(goldens / f"{recipe}.train.pt", weights_only=True)


@pytest.mark.parametrize("recipe", TRAINING_CASES, indirect=True)
def test_every_training_case_is_tested(training: dict[str, Any], recipe: str) -> None:
    assert tuple(case["name"] for case in training["cases"]) == TRAINING_CASES[recipe]


@pytest.mark.parametrize(
    ("recipe", "name"),
    [(recipe, name) for recipe, names in TRAINING_CASES.items() for name in names],
    indirect=["recipe"],
)
def test_losses_and_gradients_are_icefalls(
    load: Callable[..., Any],
    training: dict[str, Any],
    name: str,
) -> None:
    (case,) = (case for case in training["cases"] if case["name"] == name)
    in_chunks = case["encoder_kwargs"]["dynamic_chunk_training"]
    model = load(
        causal_convolution=case["encoder_kwargs"]["causal"],
        dynamic_chunk_training=in_chunks,
        dropout=0.0,
        layer_dropout=0.0,
        aux_layer_period=0,
    )
    # icefall draws chunks in evaluation too, calve only while it trains.
    model.train(case["mode"] == "train" or in_chunks)
    compare_losses(model, training, case)


def test_another_recipes_checkpoint_is_refused_by_name(goldens: Path) -> None:
    with pytest.raises(CheckpointError, match="do not fit") as refused:
        load_model(FIRST, goldens / f"{FIRST}2.ckpt.pt")
    assert f"{FIRST}2" in str(refused.value)


def test_each_recipe_has_its_options_and_defaults(recipe: str) -> None:
    spec = registry().recipes.get(recipe)
    resolved = ModelBuilder(recipe).resolve()
    encoder, model = resolved["encoder"], resolved["model"]
    deep = recipe.endswith("5")
    assert spec.encoder == ("plain_conformer" if recipe == FIRST else "conformer")
    assert encoder.num_encoder_layers == (24 if deep else 12)
    assert encoder.encoder_dim == (384 if deep else 512)
    assert encoder.dim_feedforward == (1536 if deep else 2048)
    assert encoder.nhead == 8
    assert encoder.aux_layer_period == (3 if deep else 0)
    assert (model.decoder_dim, model.joiner_dim) == (512, 512)
