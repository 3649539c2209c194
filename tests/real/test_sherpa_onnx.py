"""The real sherpa-onnx on what calve exports; not installing it is a failure, not a skip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sherpa_onnx

from calve.api import BundleError, Conventions
from calve.bundles.bundle import Bundle
from calve.bundles.metadata import write_metadata
from calve.data.audio import read_audio
from calve.data.utterances import Utterance
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.endpointing import EndpointRules
from calve.decoding.online_decoding import StreamDecoder, StreamSearch
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.decoding.recognizers import transcribe
from calve.exporting.export import export
from calve.exporting.verification import FAILED, verify
from calve.models.loading import load
from calve.registry.discovery import load_driver
from calve.scoring.error_rates import total_errors
from calve_onnx import sherpa
from calve_onnx.lint import lint
from calve_onnx.metadata import store

GREEDY = DecodingMethod("greedy_search")


RECIPE = "lstm_transducer_stateless2"
PRECISIONS = ["fp32", "fp16", "int8"]


@pytest.fixture(scope="session")
def talkative_bundle(
    talkative_checkpoint: Path, golden_tokens: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Bundle]:
    """``talkative_bundle(precision)``, exported once."""

    @cache
    def bundle(precision: str) -> Bundle:
        return export(
            RECIPE,
            checkpoint=talkative_checkpoint,
            tokens=golden_tokens,
            output=tmp_path_factory.mktemp("talkative") / precision,
            format="onnx",
            precision=precision,
        )

    return bundle


def sherpa_texts(bundle: Bundle, paths: list[Path]) -> list[str]:
    results = sherpa.transcribe(bundle.path, paths, tail_seconds=bundle.tail_seconds)
    return [result.text for result in results]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_sherpa_onnx_says_what_calve_says(
    talkative_bundle: Callable[[str], Bundle],
    demo_recordings: list[Path],
    real_recordings: list[Path],
    precision: str,
) -> None:
    bundle = talkative_bundle(precision)
    paths = demo_recordings + real_recordings
    ours = [result.text for result in transcribe(bundle, paths)]
    assert sherpa_texts(bundle, paths) == ours
    assert len(set(ours)) > 1
    assert len({word for text in ours for word in text.split()}) > 3


def test_torch_says_the_same(
    talkative_bundle: Callable[[str], Bundle],
    talkative_checkpoint: Path,
    real_recordings: list[Path],
) -> None:
    bundle = talkative_bundle("fp32")
    session = load_driver("calve.runtimes", "torch").open(
        load(RECIPE, talkative_checkpoint),
        conventions=Conventions(projected=False, initial_symbol=-1),
    )
    recognizer = OnlineRecognizer(
        session, bundle.symbols, tail_padding_frames=bundle.manifest.tail_padding_frames
    )
    texts = [recognizer.transcribe(path).text for path in real_recordings]
    assert texts == sherpa_texts(bundle, real_recordings)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_shipped_model_understands_digits_in_both_runtimes(
    demo_recordings: list[Path], tmp_path: Path, precision: str
) -> None:
    bundle = export(
        RECIPE,
        checkpoint="builtin:digits-lstm",
        output=tmp_path / "bundle",
        format="onnx",
        precision=precision,
    )
    lines = (demo_recordings[0].parent / "transcripts.txt").read_text(encoding="utf-8")
    references = dict(line.split("\t") for line in lines.splitlines())
    theirs = sherpa_texts(bundle, demo_recordings)
    assert [result.text for result in transcribe(bundle, demo_recordings)] == theirs
    wanted = [references[path.name] for path in demo_recordings]
    assert total_errors(zip(wanted, theirs, strict=True)).wer <= 5.0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_verify_asks_sherpa_onnx(talkative_bundle: Callable[[str], Bundle], precision: str) -> None:
    checks = {check.name: check for check in verify(talkative_bundle(precision).path)}
    assert FAILED not in {check.outcome for check in checks.values()}
    assert "hears the same: 'word" in checks["sherpa-onnx"].detail


@pytest.mark.parametrize(
    "rules",
    [
        EndpointRules(rule2_min_trailing_silence=0.15),
        EndpointRules(rule1_min_trailing_silence=0.22, rule2_min_trailing_silence=9.0),
        EndpointRules(rule3_min_utterance_length=0.49),
    ],
    ids=["rule 2", "rule 1", "rule 3"],
)
def test_an_utterance_ends_where_it_ends_in_sherpa_onnx(
    talkative_bundle: Callable[[str], Bundle], demo_recordings: list[Path], rules: EndpointRules
) -> None:
    bundle = talkative_bundle("fp32")
    recognizer = sherpa_onnx.OnlineRecognizer.from_transducer(
        **{name: str(bundle.path / f"{name}.onnx") for name in ("encoder", "decoder", "joiner")},
        tokens=str(bundle.path / "tokens.txt"),
        enable_endpoint_detection=True,
        **asdict(rules),
    )
    theirs = [_cut_by_sherpa(recognizer, path) for path in demo_recordings]
    session = bundle.open_streaming_session()
    variant = StreamSearch(GREEDY.search(session, bundle.symbols), rules, GREEDY.stream_options)
    for path, (ends, text) in zip(demo_recordings, theirs, strict=True):
        decoder = StreamDecoder(session, bundle.symbols, {"": variant}, tail_padding_frames=0)
        run = decoder.decode([Utterance.of_audio(path.name, read_audio(path, 16000), "")])[""]
        (found,) = run.decoded.utterances
        assert (run.endpoints.total(), found.hypothesis.replace(" ", "")) == (ends, text)
    assert sum(ends for ends, _ in theirs) > 10


def _cut_by_sherpa(recognizer: Any, path: Path) -> tuple[int, str]:
    """How often an utterance ended, and all that was found, without spaces."""
    audio = read_audio(path, 16000)
    stream, ends, texts = recognizer.create_stream(), 0, []
    stream.accept_waveform(audio.sample_rate, audio.samples)
    stream.input_finished()
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
        if recognizer.is_endpoint(stream):
            texts.append(recognizer.get_result(stream))
            recognizer.reset(stream)
            ends += 1
    texts.append(recognizer.get_result(stream))
    return ends, "".join(texts).replace(" ", "")


def test_longer_steps_give_the_same_text(
    talkative_bundle: Callable[[str], Bundle], real_recordings: list[Path], tmp_path: Path
) -> None:
    source = talkative_bundle("fp32")
    for file in source.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    write_metadata(tmp_path, {"T": 37, "decode_chunk_len": 32})
    assert lint(tmp_path) == []
    long, short = (sherpa_texts(one, real_recordings) for one in (Bundle.open(tmp_path), source))
    for ours, theirs in zip(long, short, strict=True):
        # Its last step must be whole, so that a longer one may leave the very end unheard.
        assert theirs.startswith(ours)
    assert sum(map(len, long)) > 0.9 * sum(map(len, short))


def test_without_metadata_it_gives_up_and_lint_says_so(
    talkative_bundle: Callable[[str], Bundle], demo_recordings: list[Path], tmp_path: Path
) -> None:
    for file in talkative_bundle("fp32").path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    store.write(tmp_path, {})
    with pytest.raises(BundleError, match="sherpa-onnx"):
        sherpa.transcribe(tmp_path, demo_recordings[:1])
    assert [finding.code for finding in lint(tmp_path, "sherpa-onnx")] == ["metadata-missing"]
