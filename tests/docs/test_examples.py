"""The distributions under ``docs/examples``: what they import, and that they work installed."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from documented import python_of
from environments import REPOSITORY, Environment

EXAMPLES = REPOSITORY / "docs" / "examples"
MODULES = sorted(EXAMPLES.glob("*/src/*/*.py"))
TESTS = sorted(EXAMPLES.glob("*/tests/*.py"))
OWN = {path.name for path in EXAMPLES.glob("*/src/*")}
PUBLIC = {"calve.api", "calve.protocols", "calve.protocols.states", "calve.testing"}
PUBLIC_ROOMS = ("calve.common.", "calve.data.", "calve.bundles.")
GRU = EXAMPLES / "calve-gru-transducer"
TORCH_EXPORT = EXAMPLES / "calve-torch-export"
WAV_FOLDER = EXAMPLES / "calve-wav-folder"
CONV_EMFORMER = EXAMPLES / "calve-conv-emformer-transducer"
RECORDING = REPOSITORY / "plugins/calve_transducer/digits/recordings/espeak-american-man.wav"

WRITE_TINY_MODEL = """
from pathlib import Path
from calve.testing.tiny import make_tiny_model
make_tiny_model("gru_transducer").write(Path())
"""
# As short as it can be to be trained, exported and heard.
SMALL = {
    **{"encoder-dim": 48, "num-encoder-layers": 2, "dim-feedforward": 64, "nhead": 3},
    **{"chunk-length": 16, "right-context-length": 4, "left-context-length": 6, "memory-size": 3},
}


def _imported(path: Path) -> set[str]:
    """All modules that a file imports, at whatever level."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "." * node.level)
    return names


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=lambda path: path.name)
def test_they_import_only_the_public_api(path: Path) -> None:
    of_calve = {name for name in _imported(path) if name.startswith(("calve", "."))}
    of_others = {name for name in of_calve if name.split(".")[0] not in OWN}
    assert {name for name in of_others if not name.startswith(PUBLIC_ROOMS)} <= PUBLIC


def test_the_corpus_needs_no_lhotse() -> None:
    imported = set().union(*map(_imported, WAV_FOLDER.glob("*/**/*.py")))
    assert imported
    assert not any(name.split(".")[0] in ("lhotse", "calve_lhotse") for name in imported)


def test_the_page_on_encoders_shows_the_gru_encoder_as_it_is() -> None:
    module = (GRU / "src/calve_gru_transducer/encoder.py").read_text("utf-8")
    assert module.endswith(f"\n\n{python_of('docs/write-an-encoder.md')}")


def test_the_gru_encoder_is_no_more_than_120_lines_of_code() -> None:
    lines = [line for path in GRU.glob("src/*/*.py") for line in path.read_text().splitlines()]
    assert 0 < sum(bool(line.strip()) for line in lines) <= 120


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One with calve, every example, and a tiny checkpoint of the GRU recipe."""
    environment = Environment(tmp_path_factory.mktemp("examples"))
    environment.install("--editable", REPOSITORY)
    environment.install(*sorted(EXAMPLES.iterdir()))
    environment.run("python", "-c", WRITE_TINY_MODEL)
    return environment


@pytest.mark.slow
def test_the_installed_gru_encoder_passes_its_own_tests(environment: Environment) -> None:
    assert "ok" in environment.calve("plugins", "check", "gru_transducer")
    assert "calve-gru-transducer 0.1.0" in environment.calve("plugins", "list")
    environment.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", GRU / "tests")


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["onnx", "state-dict"])
def test_a_gru_model_is_exported_verified_and_transcribes(
    environment: Environment, format_name: str
) -> None:
    model = ("--checkpoint", "tiny.pt", "--tokens", "tokens.txt")
    environment.calve(
        "export", "gru_transducer", *model, "--format", format_name, "--output", format_name
    )
    environment.calve("verify", format_name)
    transcript = json.loads(environment.calve("transcribe", format_name, RECORDING, "--json"))
    assert "word" in transcript["text"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_installed_conv_emformer_passes_its_own_tests(environment: Environment) -> None:
    """The kit exports it in every precision, and sherpa-ncnn must hear what calve hears."""
    assert "ok" in environment.calve("plugins", "check", "conv_emformer_transducer")
    tests = CONV_EMFORMER / "tests"
    environment.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", tests)


@pytest.mark.slow
def test_the_installed_corpus_passes_its_own_tests(environment: Environment) -> None:
    assert "ok" in environment.calve("plugins", "check", "wav_folder")
    tests = WAV_FOLDER / "tests"
    environment.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", tests)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_folder_of_wavs_is_prepared_trained_on_and_decoded(
    environment: Environment, tmp_path: Path
) -> None:
    calve = environment.calve
    lines = ["file,words,split"]
    for number, path in enumerate(sorted(RECORDING.parent.glob("*.wav"))):
        split = ("train", "train", "valid", "test")[number % 4]
        lines.append(f"{path},one two,{split}")
    (tmp_path / "utterances.csv").write_text("\n".join(lines), encoding="utf-8")
    calve("prepare", "wav-folder", "--root", tmp_path, "--data-dir", "wavs")
    corpus = ("--corpus", "wav-folder", "--data-dir", "wavs")
    sizes = ("--num-encoder-layers", 1, "--encoder-dim", 16, "--rnn-hidden-size", 24)
    training = ("--exp-dir", "exp-wavs", "--num-epochs", 1, "--num-workers", 1)
    recipe = "lstm_transducer_stateless2"
    calve("train", recipe, *corpus, *training, *sizes)
    checkpoint = ("--exp-dir", "exp-wavs", "--epoch", 1, "--avg", 1, "--use-averaged-model", 0)
    assert "WER" in calve("decode", recipe, *checkpoint, *corpus, "--split", "test")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_conv_emformer_goes_from_recordings_to_sherpa_ncnn(
    environment: Environment, few_digits: Path
) -> None:
    calve = environment.calve
    prepare = ("--data-dir", "data", "--jobs", 1, "--train-variants", 2, "--test-variants", 1)
    calve("prepare", "fsdd", "--root", few_digits, *prepare)
    corpus = ("--corpus", "fsdd", "--data-dir", "data")
    sizes = [word for name, size in SMALL.items() for word in (f"--{name}", size)]
    recipe = "conv_emformer_transducer"
    training = ("--exp-dir", "exp", "--num-epochs", 8, "--max-duration", 25)
    calve("train", recipe, *corpus, *training, *sizes)

    checkpoint = ("--exp-dir", "exp", "--epoch", 8, "--avg", 1, "--use-averaged-model", 0)
    tokens = ("--tokens", "data/lang/tokens.txt")
    calve("export", recipe, *checkpoint, *tokens, "--output", "trained")
    metadata = json.loads(calve("metadata", "show", "trained", "--json"))
    assert metadata == {"arch": 1, "cnn_module_kernel": 15} | {
        name.replace("-", "_"): size
        for name, size in SMALL.items()
        if name not in ("dim-feedforward", "nhead")
    }
    calve("quantize", "trained", "--output", "trained-int8")
    for bundle in ("trained", "trained-int8"):
        calve("lint", bundle, "--runtime", "sherpa-ncnn")
        assert "passed  sherpa-ncnn: hears" in calve("verify", bundle)
        ours = json.loads(calve("transcribe", bundle, RECORDING, "--json"))
        assert ours["duration"] > 1
    report = calve("decode", recipe, *checkpoint, *corpus, "--bundle", "trained")
    assert "WER" in report


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_installed_export_format_passes_its_own_tests(environment: Environment) -> None:
    assert "ok" in environment.calve("plugins", "check", "torch_export")
    tests = TORCH_EXPORT / "tests"
    environment.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", tests)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("recipe", ["lstm_transducer_stateless2", "pruned_transducer_stateless5"])
def test_what_the_export_format_claims_of_calves_encoders_is_true(
    environment: Environment, recipe: str
) -> None:
    choice = ("--recipe", recipe, "--format", "torch-export", "--json")
    cells = json.loads(environment.calve("plugins", "matrix", *choice))
    assert cells
    assert all(cell["claimed"] and cell["outcome"] == "passed" for cell in cells)
