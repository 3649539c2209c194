"""The real sherpa-ncnn on what calve exports; not installing it is a failure, not a skip."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from calve.api import BundleError
from calve.bundles.bundle import Bundle
from calve.decoding.recognizers import transcribe
from calve.exporting.export import export
from calve.scoring.error_rates import total_errors
from calve_ncnn import sherpa
from calve_ncnn.layout import param_path
from calve_ncnn.lint import lint
from calve_ncnn.metadata import store
from calve_ncnn.operators import SHERPA_NCNN_OPERATORS

RECIPE = "lstm_transducer_stateless2"
DEMO = Path(__file__).parents[2] / "plugins" / "calve_transducer" / "digits" / "recordings"
SHERPA_CHUNK_MS = 40
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="session")
def talkative_bundle(
    goldens: Path,
    golden_checkpoint: Path,
    golden_tokens: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """The golden model with the sharpened decoder and joiner, which say many different symbols."""
    folder = tmp_path_factory.mktemp("talkative")
    weights = torch.load(golden_checkpoint, weights_only=True)["model"]
    sharpened = torch.load(goldens / f"{RECIPE}.decoding.pt", weights_only=True)["state_dict"]
    checkpoint = folder / "pretrained.pt"
    torch.save({"model": weights | sharpened}, checkpoint)
    return export(RECIPE, checkpoint=checkpoint, tokens=golden_tokens, output=folder / "bundle")


@pytest.fixture(scope="session")
def digits_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped model."""
    output = tmp_path_factory.mktemp("digits") / "bundle"
    return export(RECIPE, checkpoint="builtin:digits-lstm", output=output)


def error_rate(wanted: list[str], heard: list[str]) -> float:
    rate = total_errors(zip(wanted, heard, strict=True)).wer
    assert rate is not None
    return rate


def recordings() -> list[Path]:
    found = sorted(DEMO.glob("*.wav"))
    assert len(found) >= 8
    return found


def texts(bundle: Bundle, paths: list[Path]) -> tuple[list[str], list[str]]:
    """calve's and sherpa-ncnn's texts."""
    ours = [result.text for result in transcribe(bundle, paths, chunk_ms=SHERPA_CHUNK_MS)]
    theirs = sherpa.transcribe(bundle.path, paths, tail_seconds=bundle.tail_seconds)
    return ours, [result.text for result in theirs]


def test_sherpa_ncnn_says_what_calve_says(talkative_bundle: Bundle) -> None:
    ours, theirs = texts(talkative_bundle, recordings())
    assert ours == theirs
    assert len(set(ours)) > 1
    assert len({word for text in ours for word in text.split()}) > 3


def test_sherpa_ncnn_and_calve_say_the_same_on_real_speech(
    talkative_bundle: Bundle, shared_data: Path
) -> None:
    paths = sorted(shared_data.glob("librispeech_sample/*.wav"))
    paths += sorted(shared_data.glob("fsdd/recordings/*_0.wav"))[::6]
    assert len(paths) >= 10
    ours, theirs = texts(talkative_bundle, paths)
    assert ours == theirs


def test_the_shipped_model_understands_digits_in_both_runtimes(digits_bundle: Bundle) -> None:
    paths = recordings()
    lines = (DEMO / "transcripts.txt").read_text(encoding="utf-8").splitlines()
    references = dict(line.split("\t") for line in lines)
    ours, theirs = texts(digits_bundle, paths)
    assert ours == theirs
    wanted = [references[path.name] for path in paths]
    assert error_rate(wanted, theirs) <= 5.0


def test_the_shipped_model_understands_real_digits_in_both_runtimes(
    digits_bundle: Bundle, shared_data: Path
) -> None:
    paths = sorted(shared_data.glob("fsdd/recordings/*_0.wav"))
    assert len(paths) == 50
    ours, theirs = texts(digits_bundle, paths)
    assert ours == theirs
    wanted = [DIGITS[int(path.name[0])] for path in paths]
    assert error_rate(wanted, theirs) <= 5.0


def test_without_metadata_it_crashes_and_lint_says_so(bundle_dir: Path) -> None:
    path = param_path(bundle_dir, "encoder")
    text = re.sub(r"^SherpaMetaData.*\n", "", path.read_text(), flags=re.M)
    path.write_text(text.replace("87 116", "86 116", 1))
    with pytest.raises(BundleError, match="crashed with SIG"):
        sherpa.transcribe(bundle_dir, recordings()[:1])
    assert [finding.code for finding in lint(bundle_dir, "sherpa-ncnn")] == ["metadata-missing"]


def test_halved_dimensions_ruin_it_and_lint_says_so(
    talkative_bundle: Bundle, tmp_path: Path
) -> None:
    """It writes past its buffers: garbage with exit code 0, or a crash, as luck has it."""
    for file in talkative_bundle.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    table = store.read(tmp_path)
    assert table is not None
    store.write(tmp_path, {**table, "encoder_dim": 16, "rnn_hidden_size": 24})
    paths = recordings()[:2]
    right = [result.text for result in sherpa.transcribe(talkative_bundle.path, paths)]
    with suppress(BundleError):
        wrong = [result.text for result in sherpa.transcribe(tmp_path, paths)]
        assert wrong != right
    assert {finding.code for finding in lint(tmp_path, "sherpa-ncnn")} == {"metadata-mismatch"}


_PROBE = """
import ctypes, json, sys
library = ctypes.CDLL(sys.argv[1])
create = library._ZN4ncnn12create_layerEPKc
create.restype, create.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
print(json.dumps([name for name in json.load(sys.stdin) if create(name.encode())]))
"""


def test_the_operator_table_is_what_the_installed_wheel_has() -> None:
    """Asks the wheel's own library, in a child, for every operator that any ncnn knows."""
    spec = importlib.util.find_spec("sherpa_ncnn")
    assert spec is not None
    assert spec.origin is not None
    library = Path(spec.origin).parent / "lib" / "libncnn.so"
    words = {
        match.decode()
        for match in re.findall(rb"(?<=\0)[A-Z][A-Za-z0-9_]{1,40}(?=\0)", library.read_bytes())
    }
    # Linkers store a string that ends another one only once: "ReLU" inside "PReLU".
    names = {word[start:] for word in words for start in range(len(word)) if word[start].isupper()}
    result = subprocess.run(
        [sys.executable, "-c", _PROBE, str(library)],
        input=json.dumps(sorted(names)),
        capture_output=True,
        text=True,
        check=True,
    )
    # SherpaMetaData is sherpa-ncnn's own layer, registered with ncnn at run time.
    assert {*json.loads(result.stdout), "SherpaMetaData"} == SHERPA_NCNN_OPERATORS
