from __future__ import annotations

from dataclasses import replace

import pytest

from calve.api import StreamingGeometry
from calve_ncnn.architectures import architecture_of, encoder_outputs, first_state

LSTM = {"arch": 3, "num_encoder_layers": 2, "encoder_dim": 16, "rnn_hidden_size": 24}
CONV_EMFORMER = {
    **{"arch": 1, "num_encoder_layers": 2, "memory_size": 4, "cnn_module_kernel": 5},
    **{"left_context_length": 7, "chunk_length": 16, "right_context_length": 8, "encoder_dim": 32},
}
GEOMETRY = StreamingGeometry(shift=16, overlap=19, subsampling_factor=4, dynamic=False)
STATES = {
    f"{name}{layer}": shape
    for layer in range(2)
    for name, shape in {
        **{"memory": (4, 32), "key": (7, 32)},
        **{"value": (7, 32), "convolution": (32, 4)},
    }.items()
}


def disagreements(
    table: dict[str, int], geometry: StreamingGeometry, states: dict[str, tuple[int, ...]]
) -> str:
    architecture = architecture_of(table)
    assert architecture is not None
    return "; ".join(architecture.disagreements(table, geometry, states))


def test_an_encoder_that_agrees() -> None:
    assert disagreements(CONV_EMFORMER, GEOMETRY, STATES) == ""


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"memory_size": 3}, "it feeds (3, 32) for the state 'memory0', which is (4, 32)"),
        ({"left_context_length": 8}, "it feeds (8, 32) for the state 'key0', which is (7, 32)"),
        ({"cnn_module_kernel": 4}, "(32, 3) for the state 'convolution1', which is (32, 4)"),
        ({"num_encoder_layers": 3}, "it feeds 12 states, the encoder has 8"),
        ({"chunk_length": 32}, "it steps 32 of 51 feature frames, the encoder 16 of 35"),
        ({"right_context_length": 4}, "it steps 16 of 31 feature frames, the encoder 16 of 35"),
    ],
)
def test_each_disagreement_is_named(changes: dict[str, int], complaint: str) -> None:
    assert complaint in disagreements(CONV_EMFORMER | changes, GEOMETRY, STATES)


@pytest.mark.parametrize(
    ("geometry", "agrees"),
    [
        (StreamingGeometry(shift=32, overlap=5, subsampling_factor=4), True),
        (StreamingGeometry(shift=4, overlap=5, subsampling_factor=4, dynamic=False), True),
        (StreamingGeometry(shift=32, overlap=5, subsampling_factor=4, dynamic=False), False),
        (StreamingGeometry(shift=32, overlap=5, subsampling_factor=8), False),
        (StreamingGeometry(shift=4, overlap=9, subsampling_factor=4), False),
    ],
)
def test_a_dynamic_encoder_takes_the_step_that_is_fixed_in_sherpa_ncnn(
    geometry: StreamingGeometry, agrees: bool
) -> None:
    complaints = disagreements(LSTM, geometry, {"hidden": (2, 16), "cell": (2, 24)})
    assert (complaints == "") == agrees
    assert agrees or complaints.startswith("it steps 4 of 9 feature frames")


def test_the_order_of_the_states_matters() -> None:
    swapped = {"cell": (2, 24), "hidden": (2, 16)}
    geometry = replace(GEOMETRY, shift=4, overlap=5)
    assert "(2, 16) for the state 'cell'" in disagreements(LSTM, geometry, swapped)


@pytest.mark.parametrize(
    ("table", "outputs"),
    [
        (LSTM, ("out0", "out2", "out3")),
        (CONV_EMFORMER, ("out0", "out1", "out2")),
        ({"arch": "conformer"}, ("out0", "out2", "out3")),
        ({"arch": 99}, ("out0", "out2", "out3")),
        (None, ("out0", "out2", "out3")),
    ],
)
def test_only_what_sherpa_ncnn_feeds_no_frame_count_goes_without(
    table: dict[str, int | str] | None, outputs: tuple[str, ...]
) -> None:
    assert encoder_outputs(table, 2) == outputs
    assert outputs[1] == f"out{first_state(table)}"
    assert architecture_of(table) is None or table in (LSTM, CONV_EMFORMER)


def test_what_is_no_whole_number_is_missing() -> None:
    architecture = architecture_of(LSTM)
    assert architecture is not None
    assert architecture.missing(LSTM) == []
    assert architecture.missing({**LSTM, "encoder_dim": "1,2"}) == ["encoder_dim"]
    assert architecture.missing({"arch": 3}) == list(architecture.keys)
