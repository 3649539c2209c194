"""Comparing what two sessions answer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from calve.bundles.bundle import Bundle
from calve.bundles.observation import MIN_CHUNKS, Observation, observe
from calve.errors import ExportError
from calve.exporting.golden import observe_offline
from calve.exporting.parity import ParityReport, compare
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_transducer.model.config import TransducerConfig
from calve_transducer.model.transducer import Transducer
from calve_transducer.runtime import TorchRuntime, TorchSession

FEATURES = np.random.default_rng(0).normal(-8, 3, size=(120, 80)).astype(np.float32)


def build() -> Transducer:
    torch.manual_seed(5)
    encoder = LstmEncoder(LstmEncoderConfig(2, encoder_dim=16, rnn_hidden_size=24))
    return Transducer(encoder, TransducerConfig(10, decoder_dim=16, joiner_dim=16)).eval()


@pytest.fixture(scope="module")
def session() -> TorchSession:
    return TorchRuntime.open(build())


def observed(session: TorchSession, chunk_ms: int = 40) -> Observation:
    return observe(session, FEATURES, session.geometry.with_chunk_ms(chunk_ms))


def report(candidate: Observation, reference: Observation, precision: str = "fp32") -> ParityReport:
    return compare(reference, candidate, precision=precision)


def off_by(observation: Observation, output: str, error: float) -> Observation:
    changed = observation.outputs[output].copy()
    changed.flat[-1] += error
    return replace(observation, outputs=observation.outputs | {output: changed})


def test_a_session_agrees_with_itself(session: TorchSession):
    same = report(observed(session), observed(session))
    same.check()
    assert same.max_abs_error == 0
    assert same.tokens_equal
    outputs = {output.output for output in same.outputs}
    assert {"encoder_out", "decoder_out", "logits"} < outputs
    assert len(outputs) == 5, "two states are compared too"


def test_chunks_are_chained_with_their_states(session: TorchSession):
    observation = observed(session)
    assert observation.chunks == (120 - 5) // 4 >= MIN_CHUNKS
    whole, _ = session.encode(FEATURES[None], np.array([len(FEATURES)]))
    assert np.abs(whole[0] - observation.outputs["encoder_out"]).max() < 1e-5


def test_longer_chunks_give_the_same_numbers(session: TorchSession):
    short = observed(session, 40).outputs["encoder_out"]
    long = observed(session, 120).outputs["encoder_out"][: len(short)]
    assert np.abs(short - long).max() < 1e-5


def test_features_are_repeated_until_enough_chunks_are_chained(session: TorchSession):
    assert observed(session, 640).chunks >= MIN_CHUNKS


def test_whole_utterances_of_several_lengths_are_encoded_side_by_side(session: TorchSession):
    lengths: list[list[int]] = []

    class Counting(TorchSession):
        def encode(self, features, sizes):
            lengths.append(sizes.tolist())
            return super().encode(features, sizes)

    observation = observe_offline(Counting(session.model), FEATURES)
    ((longest, *shorter),) = lengths
    assert longest > max(shorter)
    assert len(set(shorter)) == len(shorter) == 3
    assert (observation.chunk_ms, observation.chunks) == (None, 4)
    assert set(observation.outputs) == {"encoder_out", "decoder_out", "logits"}
    frames = sum((length - 5) // 4 for length in lengths[0])
    assert len(observation.outputs["encoder_out"]) == frames


def test_a_session_that_forgets_the_padding_does_not_agree_in_whole_utterances(
    session: TorchSession,
):
    class Forgetful(TorchSession):
        def encode(self, features, sizes):
            encoder_out, _ = super().encode(features, sizes)
            return encoder_out, np.full(len(sizes), encoder_out.shape[1])

    reference = observe_offline(session, FEATURES)
    with pytest.raises(ExportError, match="encoder_out has the shape"):
        report(observe_offline(Forgetful(session.model), FEATURES), reference)


def test_an_error_in_whole_utterances_says_so(session: TorchSession):
    reference = observe_offline(session, FEATURES)
    report(reference, reference).check()
    with pytest.raises(ExportError, match=r"logits is off by .* in whole utterances"):
        report(off_by(reference, "logits", 2e-4), reference).check()


@pytest.mark.parametrize("output", ["encoder_out", "decoder_out", "logits"])
@pytest.mark.parametrize("error", [2e-4, -2e-4, float("nan"), float("inf")])
def test_any_output_that_is_off_is_refused(session: TorchSession, output: str, error: float):
    reference = observed(session)
    with pytest.raises(ExportError, match=f"{output} is off by"):
        report(off_by(reference, output, error), reference).check()


def test_an_error_below_the_limit_is_reported_and_accepted(session: TorchSession):
    reference = observed(session)
    result = report(off_by(reference, "logits", 5e-5), reference)
    result.check()
    assert result.max_abs_error == pytest.approx(5e-5, rel=0.1)


def test_other_weights_do_not_agree(session: TorchSession):
    model = build()
    with torch.no_grad():
        model.joiner.output_linear.bias.add_(0.01)
    with pytest.raises(ExportError, match="logits"):
        report(observed(TorchRuntime.open(model)), observed(session)).check()


def test_other_tokens_are_refused_in_fp32_and_reported_in_fp16(session: TorchSession):
    reference = observed(session)
    candidate = replace(reference, tokens=(*reference.tokens, 3))
    with pytest.raises(ExportError, match="different symbols"):
        report(candidate, reference).check()
    rounded = report(candidate, reference, "fp16")
    rounded.check()
    assert not rounded.tokens_equal


def test_the_limit_of_fp16_grows_with_the_values(session: TorchSession):
    reference = observed(session)
    large = off_by(reference, "logits", 100.0)
    report(off_by(large, "logits", 0.9), large, "fp16").check()
    with pytest.raises(ExportError, match="fp16 allows"):
        report(off_by(large, "logits", 1.1), large, "fp16").check()


def test_a_scheme_of_any_name_is_held_to_the_limit_of_int8(session: TorchSession):
    reference = observed(session)
    close, far = (off_by(reference, "logits", error) for error in (0.015, 1.0))
    report(close, reference, "my_int4").check()
    with pytest.raises(ExportError, match="my_int4 allows"):
        report(far, reference, "my_int4").check()


def test_in_fp32_only_the_limit_of_a_state_grows_with_the_values(session: TorchSession):
    reference = observed(session)
    large = off_by(off_by(reference, "cell", 50.0), "logits", 50.0)
    report(off_by(large, "cell", 0.004), large).check()
    with pytest.raises(ExportError, match="cell is off"):
        report(off_by(large, "cell", 0.006), large).check()
    with pytest.raises(ExportError, match="logits is off"):
        report(off_by(large, "logits", 0.0002), large).check()


def test_another_output_size_is_an_error_that_names_both(session: TorchSession):
    reference = observed(session)
    halved = replace(
        reference, outputs=reference.outputs | {"logits": reference.outputs["logits"][:, :5]}
    )
    with pytest.raises(ExportError, match=r"\(32, 5\) instead of \(32, 10\)"):
        report(halved, reference)


def test_a_report_survives_json(session: TorchSession):
    one = report(observed(session), observed(session))
    both = one + one
    assert len(both.outputs) == 2 * len(one.outputs)
    assert ParityReport.from_json(json.loads(json.dumps(both.to_json()))) == both


def test_ncnn_in_fp32_agrees_with_torch_over_chained_chunks(golden_bundle: Bundle):
    """The report that the export wrote: two chunk lengths, all outputs, tokens."""
    parity = ParityReport.from_json(golden_bundle.manifest.parity)
    assert parity.precision == "fp32"
    assert {output.chunk_ms for output in parity.outputs} == {40, 320}
    assert min(output.chunks for output in parity.outputs) >= MIN_CHUNKS
    assert parity.max_abs_error <= 1e-4
    assert parity.tokens_equal
    assert len(parity.tokens) > 20
