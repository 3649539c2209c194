"""``calve transcribe``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from calve.bundles.bundle import Bundle
from calve.cli.application import run
from calve.data.audio import Audio
from calve.data.features import FeatureConfig
from calve.data.tokens import SymbolTable
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.models.checkpoint_files import read_checkpoint
from calve.models.checkpoints import builtin_checkpoint
from calve.models.live import live_runtime
from calve.models.loading import load
from calve.registry.catalog import registry


@pytest.fixture
def recordings(tmp_path: Path) -> list[str]:
    """Two recordings of noise: 16 kHz mono WAV and 44.1 kHz stereo FLAC."""
    random = np.random.default_rng(0)
    mono, stereo = tmp_path / "mono.wav", tmp_path / "stereo.flac"
    soundfile.write(mono, random.normal(scale=0.1, size=16000), 16000)
    soundfile.write(stereo, random.normal(scale=0.1, size=(22050, 2)), 44100)
    return [str(mono), str(stereo)]


LSTM = "lstm_transducer_stateless2"


@pytest.fixture(scope="session")
def digits() -> Path:
    """A folder with the recordings that come with calve, and what is said in them."""
    builtin = next(
        spec
        for recipe in registry().recipes
        for spec in recipe.pretrained
        if spec.name == "digits-conformer"
    )
    with builtin.recordings.as_file() as folder:
        return folder


@pytest.fixture
def bare_checkpoint(golden_checkpoint: Path, tmp_path: Path) -> Path:
    """The weights of `golden_checkpoint` and nothing else, as in icefall's ``pretrained.pt``."""
    path = tmp_path / "pretrained.pt"
    torch.save({"model": read_checkpoint(golden_checkpoint)["model"]}, path)
    return path


def transcribe(*arguments: object) -> int:
    return run(["transcribe", *map(str, arguments)])


def test_json_is_one_object_a_line_and_nothing_else_on_stdout(
    golden_bundle: Bundle, recordings: list[str], capfd: pytest.CaptureFixture[str]
):
    assert transcribe(golden_bundle.path, *recordings, "--json") == 0
    captured = capfd.readouterr()
    found = [json.loads(line) for line in captured.out.splitlines()]
    assert [one["path"] for one in found] == recordings
    for one, duration in zip(found, (1.0, 0.5), strict=True):
        assert list(one) == [
            *(
                "path",
                "text",
                "words",
                "word_timestamps",
                "tokens",
                "timestamps",
                "duration",
                "rtf",
            ),
            "notes",
        ]
        assert one["duration"] == duration
        assert len(one["tokens"]) == len(one["timestamps"]) > 0
        assert one["words"] == one["text"].split()
        assert len(one["words"]) == len(one["word_timestamps"]) > 0
        assert set(one["word_timestamps"]) <= set(one["timestamps"])
        assert one["text"] == "".join(one["tokens"]).replace("▁", " ").strip()
        assert one["rtf"] > 0
    assert "resampled from 44100 Hz to 16000 Hz" in captured.err
    assert "averaged 2 channels" in captured.err


def test_text_is_printed_beside_the_path(
    golden_bundle: Bundle, recordings: list[str], capsys: pytest.CaptureFixture[str]
):
    assert transcribe(golden_bundle.path, recordings[0]) == 0
    assert capsys.readouterr().out.startswith(f"{recordings[0]}: word")


def test_an_unreadable_recording_does_not_stop_the_others(
    golden_bundle: Bundle,
    recordings: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    foreign = tmp_path / "foreign.wav"
    foreign.write_bytes(b"this is not audio")
    paths = [recordings[0], foreign, tmp_path / "nowhere.wav", recordings[1]]
    assert transcribe(golden_bundle.path, *paths, "--json") == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["path"] for line in captured.out.splitlines()] == recordings
    assert "foreign.wav" in captured.err
    assert "nowhere.wav" in captured.err


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize("how", [(), ("--offline",)])
def test_recordings_that_the_networks_answer_with_nan_are_named(
    bare_checkpoint: Path,
    golden_tokens: Path,
    recordings: list[str],
    how: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
):
    model = torch.load(bare_checkpoint)["model"]
    model["joiner.output_linear.weight"].fill_(3e38)  # sums of it overflow to inf - inf
    torch.save({"model": model}, bare_checkpoint)
    options = ("--checkpoint", bare_checkpoint, "--recipe", LSTM, "--tokens", golden_tokens)
    assert transcribe(*options, *how, *recordings) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    for recording in recordings:
        assert f"{recording}, stream 0, encoder frame 0" in captured.err
    assert captured.err.count("the outputs of the networks are NaN") == 2


@pytest.mark.parametrize("chunk_ms", [40, 160, 640])
def test_the_text_is_the_same_at_every_chunk_length(
    golden_bundle: Bundle,
    recordings: list[str],
    chunk_ms: int,
    capsys: pytest.CaptureFixture[str],
):
    assert transcribe(golden_bundle.path, *recordings, "--json") == 0
    expected = [json.loads(line)["tokens"] for line in capsys.readouterr().out.splitlines()]
    assert (
        transcribe(golden_bundle.path, *recordings, "--chunk-ms", chunk_ms, "--num-threads", 2) == 0
    )
    texts = [line.split(": ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert texts == ["".join(tokens).replace("▁", " ").strip() for tokens in expected]


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("--chunk-ms", 50), 2, "multiple of 40 ms"),
        (("--num-threads", 0), 2, "--num-threads"),
        (("--decoding-method", "magic"), 1, "magic"),
    ],
)
def test_a_wrong_option_is_refused(
    golden_bundle: Bundle,
    recordings: list[str],
    arguments: tuple[object, ...],
    code: int,
    complaint: str,
    capsys: pytest.CaptureFixture[str],
):
    assert transcribe(golden_bundle.path, *recordings, *arguments) == code
    assert complaint in capsys.readouterr().err


def test_a_decoding_method_takes_its_options(
    golden_bundle: Bundle, recordings: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    method = ["--decoding-method", "modified_beam_search", "--beam", "2", "--json"]
    hotwords = tmp_path / "hotwords.txt"
    hotwords.write_text("▁word7 ▁word7 :30\n", encoding="utf-8")
    tokens = []
    for options in ([], ["--hotwords-file", hotwords]):
        assert transcribe(golden_bundle.path, recordings[0], *method, *options) == 0
        tokens.append(json.loads(capfd.readouterr().out)["tokens"])
    without, favoured = tokens
    assert without.count("▁word7") < favoured.count("▁word7")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--decoding-method", "modified_beam_serch"], "did you mean 'modified_beam_search'"),
        (["--beam", "2"], "--beam is not an option of greedy_search"),
        (["--decoding-method", "modified_beam_search", "--beam", "0"], "'--beam': 0 is not"),
        (["--decoding-method", "fast_beam_search_nbest_oracle"], "needs a reference"),
    ],
)
def test_a_method_or_an_option_that_cannot_be_right_is_refused(
    golden_bundle: Bundle,
    recordings: list[str],
    arguments: list[str],
    message: str,
    capfd: pytest.CaptureFixture[str],
):
    assert transcribe(golden_bundle.path, recordings[0], *arguments) in (1, 2)
    captured = capfd.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.usefixtures("bundled_plugins")
def test_something_that_is_no_bundle_is_refused(
    tmp_path: Path, recordings: list[str], capsys: pytest.CaptureFixture[str]
):
    assert transcribe(tmp_path, *recordings) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "not a bundle" in captured.err


def test_with_a_reference_the_error_rate_is_printed_and_files_are_written(
    golden_bundle: Bundle,
    recordings: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    assert transcribe(golden_bundle.path, *recordings, "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    first, second = (one["text"].split() for one in found)
    reference = tmp_path / "said.txt"
    reference.write_text(f"mono.wav\t{' '.join(first)}\nstereo.flac\t{' '.join(second[1:])}\n")
    arguments = (*recordings, "--reference", reference, "--res-dir", tmp_path / "results")
    assert transcribe(golden_bundle.path, *arguments) == 0
    words = len(first) + len(second) - 1
    out = capsys.readouterr().out
    assert f"WER {100 / words:.2f} %" in out
    assert f"0 substitutions, 1 insertions, 0 deletions in {words} words" in out
    recogs, errs, page, summary = (
        tmp_path / "results" / f"{kind}-bundle-greedy_search.{suffix}"
        for kind, suffix in (
            ("recogs", "txt"),
            ("errs", "txt"),
            ("errs", "html"),
            ("wer-summary", "txt"),
        )
    )
    starts = [i for i, token in enumerate(found[0]["tokens"]) if token.startswith("▁")]
    times = ", ".join(f"{found[0]['timestamps'][i]:.3f}" for i in starts)
    assert f"mono.wav:\ttimestamp_hyp=[{times}]" in recogs.read_text()
    assert f"(*->{second[0]})" in errs.read_text()
    assert f'<span class="ins">{second[0]}</span>' in page.read_text()
    assert summary.read_text() == (f"settings\tWER\nbundle greedy_search\t{100 / words:.2f}\n")


def test_characters_can_be_counted_and_json_stays_alone_on_stdout(
    golden_bundle: Bundle,
    recordings: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    reference = tmp_path / "said.txt"
    reference.write_text("mono word\nstereo word\n")
    arguments = (*recordings, "--reference", reference, "--unit", "character", "--json")
    assert transcribe(golden_bundle.path, *arguments) == 0
    captured = capfd.readouterr()
    assert len([json.loads(line) for line in captured.out.splitlines()]) == 2
    assert "CER " in captured.err
    assert "in 8 characters" in captured.err


def test_with_a_reference_hotwords_are_counted(
    golden_bundle: Bundle, recordings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    hotwords, reference = tmp_path / "hotwords.txt", tmp_path / "said.txt"
    hotwords.write_text("▁word7 :30\n", encoding="utf-8")
    reference.write_text("mono word7\nstereo other\n")
    method = ("--decoding-method", "modified_beam_search", "--hotwords-file", hotwords)
    arguments = (*recordings, *method, "--reference", reference, "--res-dir", tmp_path)
    assert transcribe(golden_bundle.path, *arguments) == 0
    (line,) = (one for one in capsys.readouterr().out.splitlines() if one.startswith("hotwords"))
    kept = (tmp_path / "hotwords-bundle-modified_beam_search.txt").read_text().splitlines()
    said, recognized, false_alarms = kept[1].split("\t")[1:]
    assert line == f"hotwords: {recognized} of {said} recognized, {false_alarms} false alarms"
    assert (int(said), int(recognized), int(false_alarms) > 10) == (1, 1, True)


def test_a_recording_without_reference_is_reported_and_not_counted(
    golden_bundle: Bundle,
    recordings: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    reference = tmp_path / "said.txt"
    reference.write_text("mono.wav word\n")
    assert transcribe(golden_bundle.path, *recordings, "--reference", reference) == 1
    captured = capsys.readouterr()
    assert "stereo.flac: no reference" in captured.err
    assert "of 1 utterances" in captured.out
    assert transcribe(golden_bundle.path, *recordings, "--reference", tmp_path / "none") == 1
    assert "there is no such transcripts file" in capsys.readouterr().err
    assert transcribe(golden_bundle.path, *recordings, "--res-dir", tmp_path) == 2
    assert "--reference" in capsys.readouterr().err


def test_recordings_of_one_name_have_references_of_their_own(
    golden_bundle: Bundle,
    recordings: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    two = [tmp_path / "a" / "001.wav", tmp_path / "b" / "001.wav"]
    for path, content in zip(two, (recordings[0], recordings[0]), strict=True):
        path.parent.mkdir()
        path.write_bytes(Path(content).read_bytes())
    reference = tmp_path / "said.txt"
    arguments = (*two, "--reference", reference, "--res-dir", tmp_path / "results")
    reference.write_text("001.wav\tone\n")
    assert transcribe(golden_bundle.path, *arguments) == 1
    captured = capsys.readouterr()
    assert "the transcript of 001.wav fits two recordings" in captured.err
    assert captured.out == ""
    reference.write_text("a/001.wav\tone\nb/001.wav\ttwo\n")
    assert transcribe(golden_bundle.path, *arguments) == 0
    (recogs,) = (tmp_path / "results").glob("recogs-*.txt")
    lines = recogs.read_text().splitlines()
    assert f"{two[0]}:\tref=['one']" in lines
    assert f"{two[1]}:\tref=['two']" in lines


def of(capfd: pytest.CaptureFixture[str]) -> list[tuple[list[str], list[float]]]:
    """Tokens and timestamps of each recording, printed as JSON."""
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    return [(one["tokens"], one["timestamps"]) for one in found]


def test_a_checkpoint_says_what_its_bundle_says(
    golden_bundle: Bundle,
    bare_checkpoint: Path,
    golden_tokens: Path,
    recordings: list[str],
    capfd: pytest.CaptureFixture[str],
):
    assert transcribe(golden_bundle.path, *recordings, "--json") == 0
    of_bundle = of(capfd)
    model = ("--checkpoint", bare_checkpoint, "--recipe", LSTM, "--tokens", golden_tokens)
    for chunk in ((), ("--decode-chunk-size", 4), ("--chunk-ms", 160)):
        assert transcribe(*model, *chunk, *recordings, "--json") == 0
        assert of(capfd) == of_bundle


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize(
    "mode",
    [
        (),
        ("--decode-chunk-size", 8, "--left-context", 32),
        ("--chunk-ms", 640),
        ("--simulate-streaming", 1),
        ("--offline",),
    ],
)
def test_a_builtin_checkpoint_needs_nothing_else_and_hears_what_is_said(
    digits: Path, mode: tuple[object, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    spoken = sorted(digits.glob("flite-*.wav"))
    reference = ("--reference", digits / "transcripts.txt", "--res-dir", tmp_path)
    assert transcribe("--checkpoint", "builtin:digits-conformer", *spoken, *mode, *reference) == 0
    out = capfd.readouterr().out
    assert "WER 0.00 %" in out
    assert "in 18 words" in out
    assert (tmp_path / "recogs-digits-conformer-greedy_search.txt").is_file()


@pytest.mark.usefixtures("bundled_plugins")
def test_simulated_streaming_says_what_streaming_says_and_whole_utterances_do_not(
    goldens: Path, golden_tokens: Path, recordings: list[str], capfd: pytest.CaptureFixture[str]
):
    model = (
        *("--checkpoint", goldens / "pruned_transducer_stateless5.ckpt.pt"),
        *("--recipe", "pruned_transducer_stateless5", "--tokens", golden_tokens),
        *("--causal-convolution", 1, "--left-context", 8, *recordings, "--json"),
    )
    found = []
    chunk = ("--decode-chunk-size", 4)
    for mode in (chunk, (*chunk, "--simulate-streaming", 1), ("--offline",)):
        assert transcribe(*model, *mode) == 0
        found.append(of(capfd))
    streamed, simulated, whole = found
    assert any(tokens for tokens, _ in streamed)
    assert simulated == streamed
    assert whole != streamed


@pytest.mark.usefixtures("bundled_plugins")
def test_an_encoder_that_cannot_stream_sees_whole_utterances(
    digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    offline = tmp_path / "offline.pt"
    with builtin_checkpoint("digits-conformer") as (_, shipped):
        torch.save({**read_checkpoint(shipped), "causal_convolution": False}, offline)
    tokens = digits.parent / "tokens.txt"
    model = ("--checkpoint", offline, "--tokens", tokens, digits / "flite-awb.wav")
    assert transcribe(*model, "--offline", "--json") == 0
    whole = of(capfd)
    assert transcribe(*model, "--json") == 0
    captured = capfd.readouterr()
    assert [json.loads(captured.out)[key] for key in ("tokens", "timestamps")] == [*whole[0]]
    assert "whole utterances, not streaming: this conformer cannot stream" in captured.err
    for chunk in (("--decode-chunk-size", 8), ("--chunk-ms", 320), ("--simulate-streaming", 1)):
        assert transcribe(*model, *chunk) in (1, 2)
        assert "cannot stream" in capfd.readouterr().err


@pytest.mark.usefixtures("bundled_plugins")
def test_a_bundle_for_whole_utterances_hears_what_its_checkpoint_hears(
    offline_checkpoint: Path,
    offline_bundle: Bundle,
    golden_tokens: Path,
    recordings: list[str],
    capfd: pytest.CaptureFixture[str],
):
    checkpoint = ("--checkpoint", offline_checkpoint, "--tokens", golden_tokens)
    recipe = ("--recipe", "pruned_transducer_stateless5")
    assert transcribe(*checkpoint, *recipe, "--offline", *recordings, "--json") == 0
    expected = of(capfd)
    for threads in (1, 2):
        options = ("--json", "--num-threads", threads)
        assert transcribe(offline_bundle.path, *recordings, *options) == 0
        assert of(capfd) == expected
    assert any(tokens for tokens, _ in expected)


@pytest.mark.usefixtures("bundled_plugins")
def test_a_bundle_for_whole_utterances_has_no_chunks(
    offline_bundle: Bundle, recordings: list[str], capfd: pytest.CaptureFixture[str]
):
    assert transcribe(offline_bundle.path, *recordings, "--chunk-ms", 320) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "for whole utterances and has no chunks" in captured.err


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize("mode", [(), ("--simulate-streaming", 1)])
def test_chunks_that_a_checkpoint_was_not_trained_for_are_named_or_refused(
    digits: Path, mode: tuple[object, ...], capfd: pytest.CaptureFixture[str]
):
    model = ("--checkpoint", "builtin:digits-conformer", *mode, digits / "flite-awb.wav")
    assert transcribe(*model, "--decode-chunk-size", 64) == 0
    (warning,) = [line for line in capfd.readouterr().err.splitlines() if "Warning" in line]
    assert "64" in warning
    assert transcribe(*model, "--decode-chunk-size", 64, "--strict") == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert warning.removeprefix("Warning: ") in captured.err
    assert transcribe(*model, "--strict") == 0


@pytest.mark.usefixtures("bundled_plugins")
def test_the_recipe_is_what_training_noted_in_the_checkpoint(
    bare_checkpoint: Path,
    golden_tokens: Path,
    recordings: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    noted = tmp_path / "noted.pt"
    torch.save({**read_checkpoint(bare_checkpoint), "recipe": LSTM}, noted)
    found = []
    for model in (("--checkpoint", noted), ("--checkpoint", bare_checkpoint, "--recipe", LSTM)):
        assert transcribe(*model, "--tokens", golden_tokens, *recordings, "--json") == 0
        found.append(of(capfd))
    assert found[0] == found[1]


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize("mode", [(), ("--simulate-streaming", 1), ("--offline",)])
def test_unreadable_and_empty_recordings_do_not_stop_the_others_of_a_checkpoint(
    digits: Path, mode: tuple[object, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    foreign = tmp_path / "foreign.wav"
    foreign.write_bytes(b"this is not audio")
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), 16000)
    model = ("--checkpoint", "builtin:digits-conformer", *mode, "--json")
    assert transcribe(*model, foreign, empty, digits / "flite-awb.wav") == 1
    captured = capfd.readouterr()
    last = json.loads(captured.out.splitlines()[-1])
    assert last["text"] == "eight three two"
    assert "foreign.wav" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["RECORDING"], 2, "neither a bundle nor a checkpoint was given"),
        (["BUNDLE"], 2, "Missing argument 'RECORDINGS...'"),
        (["BUNDLE", "RECORDING", "--checkpoint", "CHECKPOINT"], 2, "exclude one another"),
        (["BUNDLE", "RECORDING", "--offline", "--recipe", LSTM], 2, "--recipe, --offline: of a"),
        (["BUNDLE", "RECORDING", "--left-context", "8"], 2, "--left-context: of a checkpoint"),
        (["RECORDING", "--checkpoint", "nowhere.pt"], 1, "nowhere.pt"),
        (["RECORDING", "--checkpoint", "builtin:digits-lstn"], 2, "builtin:digits-lstm"),
        (["RECORDING", "--checkpoint", "CHECKPOINT"], 2, f"give --recipe, one of {LSTM}"),
        (
            ["RECORDING", "--checkpoint", "CHECKPOINT", "--recipe", "lstm_transducer"],
            1,
            "lstm_transducer",
        ),
        (["RECORDING", "--checkpoint", "CHECKPOINT", "--recipe", LSTM], 1, "--tokens FILE"),
        (
            ["RECORDING", "--checkpoint", "builtin:digits-lstm", "--left-context", "8"],
            2,
            f"recipe {LSTM} has no option 'left_context'",
        ),
        (
            ["RECORDING", "--checkpoint", "builtin:digits-lstm", "--offline", "--chunk-ms", "80"],
            2,
            "--offline has no chunks",
        ),
        (
            [
                *("RECORDING", "--checkpoint", "builtin:digits-lstm"),
                *("--chunk-ms", "80", "--decode-chunk-size", "2"),
            ],
            2,
            "exclude one another",
        ),
        (
            [
                *("RECORDING", "--checkpoint", "builtin:digits-lstm"),
                *("--offline", "--simulate-streaming", "1"),
            ],
            2,
            "exclude one another",
        ),
    ],
)
def test_a_model_that_is_missing_or_named_wrongly_is_refused(
    golden_bundle: Bundle,
    bare_checkpoint: Path,
    recordings: list[str],
    arguments: list[str],
    code: int,
    complaint: str,
    capfd: pytest.CaptureFixture[str],
):
    stands_for = {
        "BUNDLE": str(golden_bundle.path),
        "RECORDING": recordings[0],
        "CHECKPOINT": str(bare_checkpoint),
    }
    assert transcribe(*(stands_for.get(word, word) for word in arguments)) == code
    captured = capfd.readouterr()
    assert captured.out == ""
    assert complaint in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.usefixtures("bundled_plugins")
def test_help_names_the_default_decoding_method(capfd: pytest.CaptureFixture[str]):
    assert transcribe("--help") == 0
    words = " ".join(capfd.readouterr().out.split())
    assert "[default: greedy_search]" in words


HOSTILE = b"caf\xe9 \x1b[2J $x$\n.wav"
"""A file name that is not UTF-8 and would clear a terminal."""


def test_a_name_that_cannot_be_printed_does_not_stop_the_work(
    golden_bundle: Bundle, recordings: list[str], tmp_path: Path
):
    hostile = tmp_path / os.fsdecode(HOSTILE)
    shutil.copyfile(recordings[0], hostile)
    references = tmp_path / "references.txt"
    references.write_text("".join(f"{Path(one).name}\tword\n" for one in recordings))
    missing = tmp_path / os.fsdecode(b"\xff\x1b[31m.wav")
    results = tmp_path / "results"
    command = [sys.executable, "-m", "calve", "transcribe", golden_bundle.path, hostile]
    command += [missing, *recordings, "--reference", references, "--res-dir", results]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    for as_json in ([], ["--json"]):
        found = subprocess.run(
            [*map(os.fspath, command), *as_json], env=environment, capture_output=True, check=False
        )
        shown = found.stderr + found.stdout
        assert found.returncode == 1
        assert b"\x1b" not in shown
        assert b"unexpected" not in shown
        lines = found.stdout.decode("utf-8").splitlines()
        if as_json:
            paths = [json.loads(line)["path"] for line in lines]
            assert list(map(os.fsencode, paths)) == [
                os.fsencode(hostile),
                *map(os.fsencode, recordings),
            ]
        else:
            assert lines[0].startswith(rf"{tmp_path}/caf\udce9 \x1b[2J $x$\n.wav: ")
            assert lines[1].startswith(f"{recordings[0]}: ")
    for path in results.iterdir():
        assert "\x1b" not in path.read_text(encoding="utf-8")


@pytest.mark.usefixtures("bundled_plugins")
def test_a_model_for_8_khz_hears_8_khz(
    bare_checkpoint: Path,
    golden_tokens: Path,
    recordings: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    """A recording at 8 kHz is not converted, and gives the features of `FeatureConfig`."""
    samples = np.random.default_rng(0).normal(scale=0.1, size=8000).astype(np.float32)
    soundfile.write(tmp_path / "telephone.wav", samples, 8000, subtype="FLOAT")
    model = ("--recipe", LSTM, "--checkpoint", bare_checkpoint, "--tokens", golden_tokens)
    options = ("--sample-rate", "8000", "--json")
    assert transcribe(*model, *options, tmp_path / "telephone.wav", recordings[0]) == 0
    captured = capsys.readouterr()
    assert "telephone.wav: resampled" not in captured.err
    assert f"{recordings[0]}: resampled from 16000 Hz to 8000 Hz" in captured.err
    loaded = load(LSTM, bare_checkpoint)
    recognizer = OnlineRecognizer(
        live_runtime(loaded.model).open(loaded),
        SymbolTable.read(golden_tokens),
        features=FeatureConfig(sample_rate=8000),
    )
    expected = recognizer.transcribe_audio(Audio(samples, 8000, 1.0))
    found = json.loads(captured.out.splitlines()[0])
    assert found["tokens"] == list(expected.tokens)
    assert found["timestamps"] == list(expected.timestamps)


def test_the_sampling_rate_of_a_bundle_is_its_own(
    golden_bundle: Bundle, recordings: list[str], capsys: pytest.CaptureFixture[str]
):
    assert transcribe(golden_bundle.path, *recordings, "--sample-rate", "8000") == 2
    assert "--sample-rate: of a checkpoint only" in capsys.readouterr().err
