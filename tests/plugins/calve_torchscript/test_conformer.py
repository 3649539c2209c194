"""What k2-fsa/sherpa calls on a conformer, called as it does, against icefall's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import pad
from torch.testing import assert_close

from calve.bundles.bundle import Bundle
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.errors import ConfigError
from calve.exporting.export import export
from calve.exporting.verification import PASSED, verify
from calve.models.loading import load_model
from calve_torchscript.layout import load_networks
from calve_torchscript.lint import lint
from calve_transducer.layers.conversion import to_plain

CPU = torch.device("cpu")
RECIPES = tuple(f"pruned_transducer_stateless{number}" for number in ("", "2", "4", "5"))
FACTOR, OVERLAP = 4, 11
ConformerBundle = Callable[[str, str], Bundle]


def close(actual: Any, expected: Any) -> None:
    assert_close(actual, expected, rtol=0.0, atol=1e-5)


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def golden(recipe: str, goldens: Path) -> dict[str, Any]:
    return torch.load(goldens / f"{recipe}.encoder.pt", weights_only=True)


@pytest.fixture(scope="module")
def model(recipe: str, conformer_bundle: ConformerBundle) -> Any:
    """``cpu_jit.pt``, as C++ loads it."""
    return torch.jit.load(conformer_bundle(recipe, "jit-script").path / "cpu_jit.pt").eval()


@pytest.fixture(scope="module")
def eager(recipe: str, goldens: Path) -> Any:
    return to_plain(load_model(recipe, goldens / f"{recipe}.ckpt.pt"))


class Stream:
    """One of sherpa's streams: its own states, and what it has gone over."""

    def __init__(self, model: Any, left_context: int) -> None:
        self.states = model.encoder.get_init_state(left_context, CPU)
        self.output_frames = self.feature_frames = 0


@torch.no_grad()
def step(
    model: Any,
    streams: list[Stream],
    x: torch.Tensor,
    left_context: int,
    right_context: int,
    processed: Callable[[Stream], int] = lambda stream: stream.output_frames,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack the streams, call the encoder, and give each its states back."""
    stacked = [torch.stack([s.states[i] for s in streams], dim=2) for i in range(2)]
    y, y_lens, after = model.encoder.streaming_forward(
        x,
        torch.full((len(x),), x.size(1), dtype=torch.int64),
        stacked,
        torch.tensor([processed(stream) for stream in streams], dtype=torch.int64),
        left_context,
        right_context,
    )
    unstacked = zip(*(state.unbind(dim=2) for state in after), strict=True)
    for stream, states, frames in zip(streams, unstacked, y_lens.tolist(), strict=True):
        stream.states = list(states)
        stream.output_frames += frames
        stream.feature_frames += x.size(1) - OVERLAP - FACTOR * right_context
    return y, y_lens


def whole_segments(golden: dict[str, Any], case: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Segments of all streams as long as all are whole, with what icefall gave for them."""
    shift = FACTOR * case["chunk_size"]
    for number, call in enumerate(case["calls"]):
        size = shift + case["pad_length"]
        if call["x_lens"].tolist() != [size] * len(golden["x"]):
            return
        padded = [
            pad(x[:length], (0, 0, 0, case["pad_length"]), value=math.log(1e-10))
            for x, length in zip(golden["x"], golden["x_lens"].tolist(), strict=True)
        ]
        yield torch.stack([x[number * shift :][:size] for x in padded]), call


def test_the_attributes_that_sherpa_reads(recipe: str, model: Any) -> None:
    assert model.encoder._c._type().name() == "Conformer"
    assert model.encoder.subsampling_factor == 4
    assert model.decoder.context_size == 2


def test_states_are_those_of_one_stream_with_any_left_context(
    model: Any, golden: dict[str, Any]
) -> None:
    for left_context in (1, 64):
        attention, convolution = model.encoder.get_init_state(left_context, CPU)
        layers, _, _, dim = golden["streaming"][0]["final_attn_state"].shape
        assert attention.shape == (layers, left_context, dim)
        assert convolution.shape == (layers, 30, dim)
        assert not attention.any()
        assert not convolution.any()


def test_every_step_gives_what_icefall_gives(model: Any, golden: dict[str, Any]) -> None:
    calls = 0
    for case in golden["streaming"]:
        contexts = case["left_context"], case["right_context"]
        streams = [Stream(model, contexts[0]) for _ in golden["x"]]
        for x, call in whole_segments(golden, case):
            assert [s.output_frames for s in streams] == call["processed_lens"].tolist()
            y, y_lens = step(model, streams, x, *contexts)
            close(y, call["out"])
            assert y_lens.dtype == torch.int64
            assert y_lens.tolist() == call["out_lens"].tolist()
            if "attn_state" in call:
                close(torch.stack([s.states[0] for s in streams], 2), call["attn_state"])
                close(torch.stack([s.states[1] for s in streams], 2), call["conv_state"])
            calls += 1
    assert calls >= 5


@pytest.mark.parametrize(
    ("chunk_size", "left_context", "right_context"),
    [(1, 3, 0), (8, 32, 0), (16, 64, 0), (6, 20, 2)],
)
@torch.no_grad()
def test_any_chunk_and_contexts_give_what_the_encoder_gives(
    recipe: str, model: Any, goldens: Path, chunk_size: int, left_context: int, right_context: int
) -> None:
    sizes = {"left_context": left_context, "right_context": right_context}
    encoder = load_model(recipe, goldens / f"{recipe}.ckpt.pt", **sizes).encoder
    torch.manual_seed(chunk_size)
    streams = [Stream(model, left_context) for _ in range(3)]
    states = encoder.init_states(3)
    frames = FACTOR * (chunk_size + right_context) + OVERLAP
    for _ in range(2 + left_context // chunk_size):
        x = torch.randn(3, frames, 80) - 5
        y, y_lens = step(model, streams, x, left_context, right_context)
        expected, expected_lens, states = encoder.stream(x, torch.full((3,), frames), states)
        close(y, expected)
        assert y_lens.tolist() == expected_lens.tolist()
    for index, name in enumerate(("attention", "convolution")):
        close(torch.stack([stream.states[index] for stream in streams], dim=1), states[name])


def test_counting_feature_frames_as_sherpas_server_does_changes_nothing(model: Any) -> None:
    torch.manual_seed(0)
    ours, theirs = Stream(model, 20), Stream(model, 20)
    for _ in range(6):
        x = torch.randn(1, 4 * FACTOR + OVERLAP, 80)
        expected, _ = step(model, [ours], x, 20, 0)
        y, _ = step(model, [theirs], x, 20, 0, lambda stream: stream.feature_frames)
        assert torch.equal(y, expected)
    assert theirs.feature_frames == 4 * ours.output_frames == 96


def test_streams_join_and_leave_between_steps(model: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 2, 8 * FACTOR + OVERLAP, 80)
    early, late = Stream(model, 16), Stream(model, 16)
    step(model, [early], x[0, :1], 16, 0)
    together, _ = step(model, [late, early], x[1], 16, 0)
    alone, again = Stream(model, 16), Stream(model, 16)
    step(model, [alone], x[0, :1], 16, 0)
    close(together[1:], step(model, [alone], x[1, 1:], 16, 0)[0])
    close(together[:1], step(model, [again], x[1, :1], 16, 0)[0])
    close(
        step(model, [early], x[2, :1], 16, 0)[0],
        step(model, [alone], x[2, :1], 16, 0)[0],
    )


def test_states_of_another_left_context_are_refused(model: Any) -> None:
    with pytest.raises(torch.jit.Error, match="another left context"):
        step(model, [Stream(model, 8)], torch.zeros(1, 43, 80), 16, 0)


@torch.no_grad()
def test_whole_utterances_give_what_icefall_gives(model: Any, golden: dict[str, Any]) -> None:
    expected = golden["forward_full"]
    y, y_lens = model.encoder(golden["x"], golden["x_lens"])
    assert torch.equal(y_lens, expected["out_lens"])
    for row, size in enumerate(y_lens.tolist()):
        close(y[row, :size], expected["out"][row, :size])


@torch.no_grad()
def test_the_decoder_takes_contexts_without_padding(model: Any, golden: dict[str, Any]) -> None:
    decoder_out = model.decoder(golden["decoder_ctx"], False)
    close(decoder_out, golden["decoder_out_need_pad_False"])


@torch.no_grad()
def test_the_joiner_adds_what_its_projections_gave(model: Any, eager: Any) -> None:
    torch.manual_seed(0)
    encoder_out = torch.randn(5, eager.encoder.output_dim)
    decoder_out = eager.decoder(torch.randint(0, 30, (5, 2)), need_pad=False).squeeze(1)
    projected = model.joiner.encoder_proj(encoder_out), model.joiner.decoder_proj(decoder_out)
    close(model.joiner(*projected, False), eager.joiner(encoder_out, decoder_out))


@pytest.mark.parametrize("format_name", ["jit-script", "state-dict"])
def test_verify_passes(recipe: str, conformer_bundle: ConformerBundle, format_name: str) -> None:
    bundle = conformer_bundle(recipe, format_name)
    assert {check.outcome for check in verify(bundle.path)} == {PASSED}
    assert bundle.manifest.parity["max_abs_error"] <= 1e-4
    assert bundle.manifest.parity["tokens_equal"]


def test_a_bundle_steps_at_any_chunk_length(recipe: str, conformer_bundle: ConformerBundle) -> None:
    bundle = conformer_bundle(recipe, "jit-script")
    assert OnlineRecognizer.from_bundle(bundle, chunk_ms=320).geometry.output_frames == 8


def test_three_files_work_but_are_not_what_sherpa_loads(conformer_bundle: ConformerBundle) -> None:
    folder = conformer_bundle(RECIPES[-1], "jit-trace").path
    assert {check.outcome for check in verify(folder)} == {PASSED}
    assert load_networks(folder)["encoder"].original_name == "Conformer"
    assert [(one.severity, one.code) for one in lint(folder, "sherpa")] == [("warning", "layout")]
    assert lint(folder, "torchscript") == []
    assert lint(conformer_bundle(RECIPES[-1], "jit-script").path) == []


def test_a_model_that_sees_future_frames_is_not_traced(
    goldens: Path, golden_tokens: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "epoch-1.pt"
    trained = torch.load(goldens / f"{RECIPES[-1]}.ckpt.pt", weights_only=True)
    torch.save(trained | {"causal_convolution": False}, checkpoint)
    with pytest.raises(ConfigError, match="cannot stream") as refused:
        export(
            RECIPES[-1],
            checkpoint=checkpoint,
            tokens=golden_tokens,
            output=tmp_path / "bundle",
            format="jit-trace",
        )
    assert "--causal-convolution 1" in str(refused.value)
    assert list(tmp_path.iterdir()) == [checkpoint]
