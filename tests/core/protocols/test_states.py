"""Encoder states of many streams in one batch, whatever runs the encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calve.bundles.bundle import Bundle
from calve.exporting.export import export
from calve.models.loading import ModelBuilder, load
from calve.protocols import Session
from calve.protocols.states import join_states, select_states
from calve.registry.discovery import load_driver

RECIPE = "lstm_transducer_stateless2"


@pytest.fixture(scope="module", params=["torch", "conformer", "ncnn", "onnx", "jit-trace"])
def session(
    request: pytest.FixtureRequest,
    golden_checkpoint: Path,
    golden_tokens: Path,
    golden_bundle: Bundle,
    tmp_path_factory: pytest.TempPathFactory,
) -> Session:
    torch_driver = load_driver("calve.runtimes", "torch")
    match request.param:
        case "torch":
            return torch_driver.open(load(RECIPE, golden_checkpoint))
        case "conformer":
            builder = ModelBuilder("pruned_transducer_stateless5")
            tiny = {"num_encoder_layers": 2, "encoder_dim": 16, "nhead": 2, "dim_feedforward": 24}
            streaming = {"causal_convolution": True, "decode_chunk_size": 4, "left_context": 8}
            model = {"vocab_size": 12, "decoder_dim": 16, "joiner_dim": 16}
            config = builder.resolve({"encoder": {**tiny, **streaming}, "model": model})
            return torch_driver.open(builder.build(config).eval())
        case "ncnn":
            return golden_bundle.open_streaming_session()
    output = tmp_path_factory.mktemp(request.param) / "bundle"
    options = {"checkpoint": golden_checkpoint, "tokens": golden_tokens, "output": output}
    return export(RECIPE, format=request.param, **options).open_streaming_session()


def test_streams_can_leave_and_enter_a_batch_between_two_steps(session: Session):
    segment = session.geometry.segment
    chunks = np.random.default_rng(0).normal(size=(4, 4, segment, session.feature_dim))
    chunks = chunks.astype(np.float32)

    def alone(stream: int, steps: range) -> list[np.ndarray]:
        states, outputs = session.init_states(), []
        for step in steps:
            encoder_out, states = session.encode_chunk(chunks[step, stream : stream + 1], states)
            outputs.append(encoder_out[0])
        return outputs

    states = session.init_states(3)
    _, states = session.encode_chunk(np.ascontiguousarray(chunks[0, :3]), states)
    _, states = session.encode_chunk(np.ascontiguousarray(chunks[1, :3]), states)
    # Stream 1 leaves, 2 and 0 change places, and 3 enters behind them.
    states = session.join_states([session.select_states(states, [2, 0]), session.init_states(1)])
    for step in (2, 3):
        batch = np.ascontiguousarray(chunks[step, [2, 0, 3]])
        encoder_out, states = session.encode_chunk(batch, states)
        for row, expected in (
            (0, alone(2, range(4))[step]),
            (1, alone(0, range(4))[step]),
            (2, alone(3, range(2, 4))[step - 2]),
        ):
            np.testing.assert_allclose(encoder_out[row], expected, rtol=0, atol=2e-5)


def test_the_axis_of_the_streams_may_differ_from_state_to_state():
    states = {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(12.0).reshape(3, 2, 2)}
    axes = {"a": 1, "b": 0}
    chosen = select_states(states, [2, 0], axes)
    assert chosen["a"].tolist() == [[2, 0], [5, 3]]
    assert chosen["b"].tolist() == states["b"][[2, 0]].tolist()
    assert all(state.flags.c_contiguous for state in chosen.values())
    joined = join_states([chosen, select_states(states, [1], axes)], axes)
    assert joined["a"].tolist() == [[2, 0, 1], [5, 3, 4]]
    assert joined["b"].shape == (3, 2, 2)
    assert select_states(states, [], axes)["a"].shape == (2, 0)
