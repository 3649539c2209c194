from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from calve.api import ConfigError
from calve.models.loading import ModelBuilder
from calve.protocols import Batch
from calve.registry.catalog import registry
from calve_transducer.layers.projected_lstm import projected_lstm
from calve_transducer.training.config import TrainingConfig
from calve_transducer.training.step import (
    BadBatchError,
    alignable,
    compute_loss,
    pruned_loss_scale,
)


@pytest.mark.parametrize(
    ("warmup", "scale"), [(0.0, 0.0), (0.99, 0.0), (1.0, 1.0), (1.01, 0.1), (1.99, 0.1), (2.0, 1.0)]
)
def test_pruned_loss_scale_is_that_of_icefall(warmup: float, scale: float) -> None:
    assert pruned_loss_scale(warmup) == scale


@pytest.fixture(scope="module")
def model() -> Any:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    builder = ModelBuilder("lstm_transducer_stateless2")
    sizes = {"num_encoder_layers": 2, "encoder_dim": 32, "rnn_hidden_size": 48}
    encoder = {**sizes, "dim_feedforward": 48, "dropout": 0.0, "layer_dropout": 0.0}
    options = {"encoder": encoder, "model": {"vocab_size": 9, "decoder_dim": 32, "joiner_dim": 32}}
    return builder.build(builder.resolve(options)).eval()


def batch(*frames: int) -> Batch:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(len(frames), max(frames), 80, generator=generator)
    tokens = [[1, 2, 3]] * len(frames)
    return Batch(features, torch.tensor(frames), tokens, [f"cut{i}" for i in range(len(frames))])


def test_utterances_shorter_than_their_tokens_are_left_out(model: Any) -> None:
    # 3 tokens need 3 encoder frames, 3 * 4 + 5 feature frames.
    kept = alignable(batch(40, 16, 17), model.encoder.geometry)
    assert kept is not None
    assert kept.cut_ids == ["cut0", "cut2"]
    assert kept.features.shape == (2, 40, 80)
    assert alignable(batch(16, 5), model.encoder.geometry) is None


def test_a_usable_batch_is_left_as_it_is(model: Any) -> None:
    whole = batch(40, 30)
    assert alignable(whole, model.encoder.geometry) is whole


def test_bfloat16_gives_nearly_the_same_loss_and_gradient(model: Any) -> None:
    found = []
    for use_bf16 in (False, True):
        model.zero_grad()
        loss, totals = compute_loss(
            model, batch(60, 50, 40), TrainingConfig(use_bf16=use_bf16), warmup=2.0
        )
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        assert gradient.dtype == torch.float32
        found.append((totals.loss, gradient))
    (loss, gradient), (bf16_loss, bf16_gradient) = found
    assert bf16_loss != loss
    assert bf16_loss == pytest.approx(loss, rel=0.01)
    assert torch.cosine_similarity(gradient, bf16_gradient, dim=0) > 0.99


def test_an_utterance_that_pruning_cannot_align_is_named(model: Any) -> None:
    # 4 encoder frames within 2 symbols each reach the fifth symbol at most.
    short = replace(batch(21, 60), tokens=[[1] * 7, [1, 2]])
    with pytest.raises(BadBatchError, match=r"not finite for cut0$"):
        compute_loss(model, short, TrainingConfig(prune_range=2), warmup=2.0)


def test_projected_lstm_equals_torch() -> None:
    torch.manual_seed(0)
    frames, batch_size, input_size, hidden_size, projected_size = 5, 3, 4, 7, 6
    reference = torch.nn.LSTM(input_size, hidden_size, proj_size=projected_size).double()
    weights = list(reference.parameters())
    inputs = [
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in (
            (frames, batch_size, input_size),
            (1, batch_size, projected_size),
            (1, batch_size, hidden_size),
        )
    ]
    x, hidden, cell = inputs
    y, (last_hidden, last_cell) = reference(x, (hidden, cell))
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = weights
    actual = projected_lstm(
        x, hidden[0], cell[0], weight_ih, weight_hh, bias_ih + bias_hh, weight_hr
    )
    expected = (y, last_hidden[0], last_cell[0])
    output_grads = [torch.randn_like(tensor) for tensor in expected]
    for tensor, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(tensor, other)
    for grad, other in zip(
        torch.autograd.grad(actual, [*inputs, *weights], output_grads),
        torch.autograd.grad(expected, [*inputs, *weights], output_grads),
        strict=True,
    ):
        torch.testing.assert_close(grad, other)


def first_contexts(model: Any, share: float, count: int) -> list[list[int]]:
    seen: list[list[int]] = []
    hook = model.decoder.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0][0, :2].tolist())
    )
    with hook, torch.no_grad():
        for _ in range(count):
            compute_loss(model, batch(40), TrainingConfig(blank_start_share=share), warmup=2.0)
    return seen


def test_a_share_of_the_batches_starts_as_streaming_recognizers_do(model: Any) -> None:
    training = copy.deepcopy(model).train()
    nothing, blanks = [-1, training.blank_id], [training.blank_id] * 2
    assert first_contexts(training, 0.0, 2) == [nothing] * 2
    assert first_contexts(training, 1.0, 2) == [blanks] * 2
    torch.manual_seed(0)
    assert {tuple(context) for context in first_contexts(training, 0.5, 30)} == {
        tuple(nothing),
        tuple(blanks),
    }


def test_validation_always_starts_as_icefall_does(model: Any) -> None:
    assert first_contexts(model, 1.0, 1) == [[-1, model.blank_id]]


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_batches_is_between_none_and_all(share: float) -> None:
    with pytest.raises(ConfigError, match="blank_start_share"):
        TrainingConfig(blank_start_share=share)


@pytest.mark.parametrize("recipe", ["lstm_transducer_stateless2", "pruned_transducer_stateless2"])
@pytest.mark.parametrize("frames", [40, 41, 42, 43])
def test_an_utterance_may_have_as_many_tokens_as_encoder_frames(recipe: str, frames: int) -> None:
    builder = ModelBuilder(recipe)
    tiny = registry().encoders.get(registry().recipes.get(recipe).encoder).tiny
    encoder = builder.build(builder.resolve({"encoder": tiny})).encoder.eval()
    _, lens = encoder(torch.randn(1, frames, 80), torch.tensor([frames]))
    most = replace(batch(frames), tokens=[[1] * int(lens)])
    assert alignable(most, encoder.geometry) is most
    assert alignable(replace(most, tokens=[[1] * (int(lens) + 1)]), encoder.geometry) is None
