"""Every line that the documentation tells its readers to type: it is run, or says why not.

A page's lines are run in a folder where everything lies that they name. What takes hours, a cluster
or another machine is not run, but its options are parsed.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from documented import PAGES, REPOSITORY, lines_to_type

from calve.cli.application import run
from calve.exporting.export import export
from calve.models.checkpoint_files import read_checkpoint

WEIGHTS = {
    "lstm_transducer_stateless2": "plugins/calve_lstm_transducer/digits/pretrained.pt",
    "pruned_transducer_stateless5": "plugins/calve_pruned_transducer/digits/pretrained.pt",
}
DIGITS = REPOSITORY / "plugins/calve_transducer/digits"
RECORDINGS = DIGITS / "recordings"

NOT_RUN = {
    r"\S+: make ": "continuous integration runs them",
    r"\S+: (pip install|pytest) ?": "tests that install distributions do it",
    r"docs/benchmarks.md: calve (export|bench) \S*(big|stateless)": "tests/real/test_full_size.py "
    "and test_full_size_conformer.py export models of that size",
    r"docs/data.md: calve ": "tests/plugins/calve_lhotse/test_whole_chain.py and its neighbors do "
    "it with a small LibriSpeech and MUSAN",
    r"docs/digits.md: calve train .*--num-epochs": "takes an hour",
    r"docs/digits.md: calve average": "needs what the line before it trains",
    r"docs/digits.md: calve decode .*--exp-dir": "needs all epochs that the lines below it train",
    r"docs/graphs.md: calve ": "needs LibriSpeech; test_whole_chain.py does it with a small one",
    r"docs/icefall-users.md: calve ": "needs LibriSpeech and a week",
    r"docs/icefall-users.md: (\./|pnnx )": "a command of icefall",
    r"docs/quantize.md: .*--table": "needs tables of ncnn's own tools; "
    "tests/plugins/calve_ncnn/int8 reads such",
    r"docs/training.md: (export |torchrun )": "needs several machines; "
    "tests/plugins/calve_transducer/training/test_distributed.py runs agents side by side",
    r"docs/tutorial.md: calve metadata write converted-by-hand": "needs a model of 84 million "
    "parameters that was converted by hand",
    r"docs/write-an-encoder.md: calve ": "tests/real/test_new_plugin.py does it",
    r"docs/examples/\S+: calve ": "tests/docs/test_examples.py does it",
    r"docs/decoding.md: (python3.9|k2-env|CALVE_K2)": "needs Python 3.9; .ci/run does it",
    r"docs/decoding.md: ▁": "lines of a file of hotwords",
}
"""Lines, as page and text, that are not run, and the reason."""

IN_PLACE_OF = {
    "PATH/TO/free-spoken-digit-dataset/recordings": "fsdd",
    "PATH/TO/recordings": "fsdd",
    "DATA/": "data/fsdd/",
    "my_speech_transducer": "lstm_transducer_stateless2",
    "conv_emformer_transducer": "lstm_transducer_stateless2",
    "gru_transducer": "lstm_transducer_stateless2",
    "wav-folder": "fsdd",
    "--format torch-export": "--format onnx",
}
SMALL = {
    "calve prepare fsdd": "--train-variants 1 --test-variants 1 --synthetic-fraction 0",
    "calve train lstm_transducer_stateless2": "--num-encoder-layers 1 --encoder-dim 16 "
    "--rnn-hidden-size 16 "
    "--dim-feedforward 16 --decoder-dim 16 --joiner-dim 16 --conv-layer1-channels 2 "
    "--conv-layer2-channels 2 --conv-layer3-channels 2",
    "calve bench-training": "--steps 1",
}
"""Options that are added, so that it does not take hours."""


RUNS = {
    "docs/decoding.md": ("pruned_transducer_stateless5", range(9, 26)),
    "docs/formats.md": ("pruned_transducer_stateless5", range(22, 26)),
    "docs/tutorial.md": ("lstm_transducer_stateless2", range(21, 31)),
}
"""Recipe and epochs of the training run that a page speaks of and does not start."""


def reason_not_to_run(page: str, line: str) -> str | None:
    return next((why for what, why in NOT_RUN.items() if re.match(what, f"{page}: {line}")), None)


def lines_to_run(page: str) -> list[str]:
    return [line for line in lines_to_type(page) if reason_not_to_run(page, line) is None]


def arguments_of(line: str) -> list[str]:
    """What follows ``calve``, with file patterns resolved as a shell does."""
    added = next((more for start, more in SMALL.items() if line.startswith(start)), "")
    for told, here in IN_PLACE_OF.items():
        line = line.replace(told, here)
    words = shlex.split(f"{line} {added}")[1:]
    return [file for word in words for file in _resolved(word)]


def _resolved(word: str) -> list[str]:
    files = sorted(map(str, Path().glob(word))) if "*" in word else []
    return files or [word]


def write_run(folder: Path, recipe: str, epochs: range) -> None:
    """Checkpoints as a training run of a shipped model would have left them."""
    folder.mkdir()
    content = read_checkpoint(REPOSITORY / WEIGHTS[recipe])
    model = content["model"]
    for epoch in epochs:
        progress = {"batch_idx_train": 100 * epoch, "average_period": 100}
        torch.save(
            {**content, "model": model, "model_avg": model, **progress},
            folder / f"epoch-{epoch}.pt",
        )


@pytest.fixture(scope="module")
def corpus(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus, where ``--corpus fsdd`` looks for it."""
    folder = tmp_path_factory.mktemp("corpus")
    line = f"calve prepare fsdd --root {few_digits} --data-dir {folder / 'fsdd'}"
    assert run(arguments_of(line)) == 0
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(
        "lstm_transducer_stateless2",
        checkpoint="builtin:digits-lstm",
        output=tmp_path_factory.mktemp("export") / "bundle",
    ).path


@pytest.fixture
def newcomer(
    few_digits: Path,
    corpus: Path,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The folder of somebody who has everything that the pages name."""
    lstm, conformer = (REPOSITORY / weights for weights in WEIGHTS.values())
    for name in ("epoch-99.pt", "pretrained-iter-468000-avg-16.pt"):
        shutil.copy(lstm, tmp_path / name)
    shutil.copy(conformer, tmp_path / "pretrained.pt")
    shutil.copytree(corpus, tmp_path / "data")
    for lang in (tmp_path, tmp_path / "data/lang_bpe_500"):
        lang.mkdir(exist_ok=True)
        shutil.copy(DIGITS / "tokens.txt", lang)
    for wav in ("a.wav", "speech.wav", "b.flac", "test_wavs/1089-134686-0001.wav"):
        (tmp_path / wav).parent.mkdir(exist_ok=True)
        shutil.copy(RECORDINGS / "flite-slt.wav", tmp_path / wav)
    shutil.copy(RECORDINGS / "flite-rms.wav", tmp_path / "1088-134315-0000.wav")
    shutil.copytree(RECORDINGS, tmp_path / "recordings")
    shutil.copytree(RECORDINGS, tmp_path / "wavs")
    shutil.copytree(RECORDINGS, tmp_path / "test")
    (tmp_path / "test/transcripts.txt").rename(tmp_path / "test/text")
    (tmp_path / "wavs.txt").write_text("".join(f"{path}\n" for path in RECORDINGS.glob("*.wav")))
    (tmp_path / "hotwords.txt").write_text("▁seven ▁nine\n")
    (tmp_path / "fsdd").symlink_to(few_digits)
    shutil.copytree(bundle, tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def parsed(newcomer: Path, monkeypatch: pytest.MonkeyPatch) -> list[click.Context]:
    """Contexts of commands that are parsed and not run."""
    for folder in ("exp", "bundle-ncnn", "download", "data/librispeech/lang", "data/manifests"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    Path("data/librispeech/lang/LG.npz").touch()
    for file in ("exp/pretrained.pt", "random-84m.pt", "random-conformer.pt", "tokens-500.txt"):
        Path(file).touch()
    contexts: list[click.Context] = []
    invoke = click.Command.invoke

    def parse_only(command: click.Command, context: click.Context) -> object:
        if isinstance(command, click.Group):
            return invoke(command, context)
        contexts.append(context)
        return None

    monkeypatch.setattr(click.Command, "invoke", parse_only)
    return contexts


@pytest.mark.parametrize("page", PAGES)
def test_every_line_is_run_or_says_why_not(page: str) -> None:
    for line in lines_to_run(page):
        assert line.startswith("calve "), f"{page}: how is this run? {line}"


def test_every_reason_is_needed() -> None:
    lines = [f"{page}: {line}" for page in PAGES for line in lines_to_type(page)]
    for what in NOT_RUN:
        assert any(re.match(what, line) for line in lines), what


def unrun_lines() -> Iterator[str]:
    for page in PAGES:
        for line in lines_to_type(page):
            if line.startswith("calve ") and reason_not_to_run(page, line) is not None:
                yield line


@pytest.mark.slow
def test_the_options_of_lines_that_are_not_run_exist(
    parsed: list[click.Context], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, line in enumerate(dict.fromkeys(unrun_lines()), start=1):
        assert run(arguments_of(line)) == 0, (line, capsys.readouterr().err)
        assert len(parsed) == number, line


@pytest.mark.slow
@pytest.mark.usefixtures("parsed")
def test_an_option_that_does_not_exist_would_be_found() -> None:
    assert run(["train", "lstm_transducer_stateless2", "--no-such-option", "1"]) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("newcomer")
@pytest.mark.parametrize("page", [page for page in PAGES if lines_to_run(page)])
def test_every_line_works(page: str, capfd: pytest.CaptureFixture[str]) -> None:
    if page in RUNS:
        write_run(Path("exp"), *RUNS[page])
    for line in lines_to_run(page):
        arguments = arguments_of(line)
        if "--output" in arguments:
            shutil.rmtree(arguments[arguments.index("--output") + 1], ignore_errors=True)
        status = run(arguments)
        said = capfd.readouterr().err.splitlines()[-10:]
        assert status == 0, "\n".join((line, *said))
