"""Decoding methods by name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import calve
from calve.data.tokens import SymbolTable
from calve.decoding.search import make_search
from calve.errors import ConfigError, DataError, PluginError
from calve.protocols import Hypothesis
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_transducer.model.config import TransducerConfig
from calve_transducer.model.transducer import Transducer
from calve_transducer.runtime import TorchRuntime

SESSION = SimpleNamespace(blank_id=0, initial_symbol=0, context_size=2, vocab_size=5)


def test_a_method_is_found_by_its_name_and_bound_to_the_session():
    search = make_search("greedy_search", SESSION, max_sym_per_frame=3)
    assert search.result(search.start()).tokens == []


def test_a_method_that_nobody_provides_is_refused_with_a_suggestion():
    with pytest.raises(PluginError) as caught:
        make_search("greedy_serch", SESSION)
    assert caught.value.fix.startswith("did you mean 'greedy_search'")


def test_an_option_that_the_method_does_not_have_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError) as caught:
        make_search("greedy_search", SESSION, max_sym_per_frme=2)
    assert caught.value.fix == "did you mean 'max_sym_per_frame'?"


def test_an_option_of_the_wrong_type_or_size_is_refused():
    with pytest.raises(ConfigError, match="max_sym_per_frame"):
        make_search("greedy_search", SESSION, max_sym_per_frame="many")
    with pytest.raises(ConfigError, match="it must be from 1 to 100"):
        make_search("greedy_search", SESSION, max_sym_per_frame=0)


@pytest.fixture(scope="module")
def golden(goldens: Path) -> dict[str, Any]:
    name = "lstm_transducer_stateless2.decoding.pt"
    stored: dict[str, Any] = torch.load(goldens / name, weights_only=True)
    return stored


@pytest.fixture(scope="module")
def model(golden: dict[str, Any]) -> Transducer:
    """Scaled layers and training mode, as a training loop would have it."""
    encoder = LstmEncoder(LstmEncoderConfig(1, encoder_dim=32, rnn_hidden_size=48))
    model = Transducer(encoder, TransducerConfig(30, decoder_dim=32, joiner_dim=32))
    assert not model.load_state_dict(golden["state_dict"], strict=False).unexpected_keys
    return model.train()


def test_a_search_on_encoder_output_finds_what_icefall_finds(
    golden: dict[str, Any], model: Transducer
):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    threads = torch.get_num_threads()
    found = calve.search(
        model,
        golden["encoder_out"],
        golden["encoder_out_lens"],
        method="greedy_search",
        max_sym_per_frame=2,
    )
    expected = golden["greedy_search_max_sym_2"]
    assert [one.tokens for one in found] == expected["hyps"]
    assert [one.timestamps for one in found] == expected["timestamps"]
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert model.training
    assert torch.get_num_threads() == threads


def test_arrays_and_a_session_give_what_tensors_and_a_model_give(
    golden: dict[str, Any], model: Transducer
):
    lengths = golden["encoder_out_lens"]
    expected = calve.search(model, golden["encoder_out"], lengths, method="greedy_search")
    arrays = golden["encoder_out"].numpy(), lengths.numpy()
    assert calve.search(model, *arrays, method="greedy_search") == expected
    session = TorchRuntime.open(model)
    projected = session.project(arrays[0])
    found = calve.search(session, projected, arrays[1], method="greedy_search")
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    scores = [one.score for one in expected]
    assert [one.score for one in found] == pytest.approx(scores, rel=1e-5)


def test_symbols_that_are_never_emitted_are_those_of_the_table(
    golden: dict[str, Any], model: Transducer
):
    given = (model, golden["encoder_out"], golden["encoder_out_lens"], "greedy_search")
    tokens = calve.search(*given)[0].tokens
    names = [f"s{number}" for number in range(30)]
    names[0], names[tokens[0]] = "<blk>", "<unk>"
    without = calve.search(*given, symbols=SymbolTable(tuple(names)))[0].tokens
    assert tokens[0] not in without


def test_an_oracle_is_told_what_was_said_in_each_utterance(
    golden: dict[str, Any], model: Transducer
):
    given = (model, golden["encoder_out"], golden["encoder_out_lens"])
    for case in golden["nbest_trivial"]:
        expected = case["fast_beam_search_nbest_oracle"]
        names = ("beam", "max_contexts", "max_states", "num_paths", "nbest_scale")
        found = calve.search(
            *given,
            "fast_beam_search_nbest_oracle",
            ref_text=expected["ref_texts"],
            **{name: case[name] for name in names},
        )
        for utterance in np.flatnonzero(expected["stable"]):
            assert found[utterance].tokens == expected["hyps"][utterance]


@pytest.mark.parametrize(
    ("method", "ref_text", "error", "message"),
    [
        ("fast_beam_search_nbest_oracle", None, ConfigError, "needs a reference"),
        ("fast_beam_search_nbest_oracle", [[3]], DataError, "1 references for 2 utterances"),
        ("fast_beam_search_nbest_oracle", [3, 4], DataError, "of one utterance only"),
        ("fast_beam_search_nbest_oracle", "ab", DataError, "of one utterance only"),
        ("greedy_search", [[3], [4]], ConfigError, "greedy_search does not use ref_text"),
    ],
)
def test_references_that_are_not_one_for_each_utterance_are_refused(
    model: Transducer, method: str, ref_text: Any, error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        calve.search(
            model, np.zeros((2, 3, 32), np.float32), np.array([3, 3]), method, ref_text=ref_text
        )


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((3, 32), [3], r"shape \(3, 32\)"),
        ((2, 3, 32), [3], r"int64 of the shape \(1,\)"),
        ((2, 3, 32), [3.0, 2.0], "float64"),
        ((2, 3, 32), [3, 4], "4 frames.*\n.*utterance 1"),
        ((2, 3, 32), [-1, 3], "-1 frames.*\n.*utterance 0"),
    ],
)
def test_malformed_encoder_output_is_refused(
    model: Transducer, shape: tuple[int, ...], lengths: list[Any], message: str
):
    with pytest.raises(DataError, match=message):
        calve.search(model, np.zeros(shape, np.float32), np.array(lengths), "greedy_search")


def test_no_utterances_and_no_frames_are_no_error(model: Transducer):
    assert calve.search(model, np.zeros((0, 3, 32)), np.zeros(0, int), "greedy_search") == []
    found = calve.search(model, np.zeros((1, 0, 32)), np.zeros(1, int), "greedy_search")
    assert found == [Hypothesis()]


def test_a_model_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="str"):
        calve.search("model.pt", np.zeros((1, 3, 32)), np.array([3]), "greedy_search")
