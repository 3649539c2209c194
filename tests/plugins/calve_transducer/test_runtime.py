"""The torch session: arrays in, arrays out, batched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calve.api import Conventions
from calve.models.loading import load
from calve.protocols import Session
from calve_transducer.runtime import TorchRuntime

RECIPE = "lstm_transducer_stateless2"


@pytest.fixture(scope="module")
def session(goldens: Path) -> Any:
    return TorchRuntime.open(load(RECIPE, goldens / f"{RECIPE}.ckpt.pt"), conventions=Conventions())


@pytest.fixture(scope="module")
def golden(goldens: Path) -> dict[str, Any]:
    return torch.load(goldens / f"{RECIPE}.encoder.pt", weights_only=True)


def test_it_is_a_session(session: Any) -> None:
    assert isinstance(session, Session)
    assert (session.feature_dim, session.vocab_size, session.context_size) == (80, 30, 2)
    assert (session.blank_id, session.geometry.segment) == (0, 9)


@pytest.mark.parametrize("index", range(3))
def test_chained_chunks_are_icefalls_streaming(
    session: Any, golden: dict[str, Any], index: int
) -> None:
    case = golden["streaming"][index]
    features = golden["x"].numpy()
    states = session.init_states(len(features))
    outputs = []
    for chunk in range(case["num_chunks"]):
        start = chunk * case["offset"]
        segment = np.ascontiguousarray(features[:, start : start + case["segment"]])
        encoder_out, states = session.encode_chunk(segment, states)
        outputs.append(encoder_out)
    np.testing.assert_allclose(np.concatenate(outputs, 1), case["out"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(states["hidden"], case["h_final"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(states["cell"], case["c_final"], atol=1e-5, rtol=0)


def test_a_context_without_symbols_is_understood(session: Any, golden: dict[str, Any]) -> None:
    contexts = golden["decoder_ctx"].numpy()
    assert contexts.min() < 0
    decoder_out = session.decode_context(contexts)
    expected = golden["decoder_out_need_pad_False"].squeeze(1)
    np.testing.assert_allclose(decoder_out, expected, atol=1e-5, rtol=0)


def test_join_projects_inside(session: Any, golden: dict[str, Any]) -> None:
    case = golden["joiner"]
    logits = session.join(
        case["encoder_out"].reshape(8, -1).numpy(), case["decoder_out"].reshape(8, -1).numpy()
    )
    np.testing.assert_allclose(logits, case["out"].reshape(8, -1), atol=1e-5, rtol=0)


def test_by_another_runtimes_conventions_it_says_the_same_with_the_work_shared_otherwise(
    session: Any, goldens: Path
) -> None:
    loaded = load(RECIPE, goldens / f"{RECIPE}.ckpt.pt")
    conventions = Conventions(projected=True, initial_symbol=-1)
    projected = TorchRuntime.open(loaded, conventions=conventions)
    assert (session.initial_symbol, projected.initial_symbol) == (0, -1)
    features = np.random.default_rng(0).normal(-5, 3, (2, 9, 80)).astype(np.float32)
    contexts = np.array([[-1, 0], [3, 4]])
    outputs = [
        (one.encode_chunk(features, one.init_states(2))[0][:, 0], one.decode_context(contexts))
        for one in (session, projected)
    ]
    for raw, after in zip(*outputs, strict=True):
        assert np.abs(raw - after).max() > 1e-3
    logits = [one.join(*given) for one, given in zip((session, projected), outputs, strict=True)]
    np.testing.assert_allclose(*logits, rtol=0, atol=1e-5)


def test_unless_told_otherwise_it_projects_once_what_is_joined_often(
    session: Any, goldens: Path
) -> None:
    default = TorchRuntime.open(load(RECIPE, goldens / f"{RECIPE}.ckpt.pt"))
    features = np.random.default_rng(0).normal(-5, 3, (2, 25, 80)).astype(np.float32)
    raw, projected = (
        one.encode_chunk(features, one.init_states(2))[0] for one in (session, default)
    )
    np.testing.assert_array_equal(default.project(raw), projected)
    np.testing.assert_array_equal(session.project(raw), raw)
