"""Every decoding method finds on every runtime what it finds in torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calve.data.tokens import SymbolTable
from calve.decoding.search import make_search
from calve.exporting.export import export
from calve.models.loading import load_model
from calve.protocols import Session
from calve_transducer.runtime import TorchRuntime

from .conftest import found

RECIPE = "lstm_transducer_stateless2"
METHODS = {
    "greedy_search": {"max_sym_per_frame": 2},
    "modified_beam_search": {"beam": 3},
    "beam_search": {"max_sym_per_frame": 2},
    "fast_beam_search": {"allow_partial": True},
}


@pytest.fixture(scope="module")
def golden(goldens: Path) -> dict[str, Any]:
    stored: dict[str, Any] = torch.load(goldens / f"{RECIPE}.decoding.pt", weights_only=True)
    return stored


@pytest.fixture(scope="module")
def open_session(
    golden: dict[str, Any],
    golden_checkpoint: Path,
    golden_tokens: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Session]:
    """``open_session(name)``: the golden model in torch, or exported to a format."""
    weights = torch.load(golden_checkpoint, weights_only=True)["model"] | golden["state_dict"]
    checkpoint = tmp_path_factory.mktemp("model") / "epoch-1.pt"
    torch.save({"model": weights}, checkpoint)

    @cache
    def session(name: str) -> Session:
        if name == "torch":
            return TorchRuntime.open(load_model(RECIPE, checkpoint))
        options = {"fp16": False} if name == "ncnn" else {}
        bundle = export(
            RECIPE,
            checkpoint=checkpoint,
            tokens=golden_tokens,
            output=tmp_path_factory.mktemp("bundles") / name,
            format=name,
            **options,
        )
        return bundle.open_streaming_session()

    return session


def frames_of(session: Session, features: np.ndarray) -> np.ndarray:
    """What the session's own encoder makes of features (T, C), chunk by chunk."""
    geometry, states, chunks = session.geometry, session.init_states(), []
    for start in range(0, len(features) - geometry.segment + 1, geometry.shift):
        segment = np.ascontiguousarray(features[None, start : start + geometry.segment])
        encoder_out, states = session.encode_chunk(segment, states)
        chunks.append(encoder_out[0])
    return np.concatenate(chunks)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("format_name", ["ncnn", "onnx", "jit-trace", "state-dict"])
def test_it_finds_what_it_finds_in_torch(
    open_session: Callable[[str], Session],
    golden: dict[str, Any],
    golden_tokens: Path,
    format_name: str,
    method: str,
):
    symbols = SymbolTable.read(golden_tokens)
    results = []
    for name in (format_name, "torch"):
        session = open_session(name)
        search = make_search(method, session, symbols=symbols, initial_symbol=0, **METHODS[method])
        results.append(found(search, *frames_of(session, golden["x"][1].numpy())[:, None]))
    ours, theirs = results
    assert len(theirs.tokens) > 1
    assert (ours.tokens, ours.timestamps) == (theirs.tokens, theirs.timestamps)
    assert ours.score == pytest.approx(theirs.score, abs=1e-3)
