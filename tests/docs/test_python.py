"""Every example in Python that the documents show: it is run, or says why not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documented import PAGES, REPOSITORY, python_of

from calve.exporting.export import export

WEIGHTS = {
    "epoch-99.pt": "plugins/calve_lstm_transducer/digits/pretrained.pt",
    "pretrained.pt": "plugins/calve_pruned_transducer/digits/pretrained.pt",
    "tokens.txt": "plugins/calve_transducer/digits/tokens.txt",
    "a.wav": "plugins/calve_transducer/digits/recordings/flite-slt.wav",
}

RUN = {
    "README.md": "",
    "docs/conformer.md": """
import torch
x, x_lens = torch.randn(1, 300, 80), torch.tensor([300])
""",
    "docs/decoding.md": """
import numpy as np
import torch
import calve
from calve.data.tokens import SymbolTable
model = calve.load_model("lstm_transducer_stateless2", "epoch-99.pt")
encoder_out, encoder_out_lens = model.encoder(torch.randn(1, 300, 80), torch.tensor([300]))
session, symbols = calve.open_session("bundle"), SymbolTable.read("tokens.txt")
frames_of_one, frames_of_the_other = np.zeros((2, 5, model.encoder.output_dim), np.float32)
""",
    "docs/scoring.md": "",
    "docs/tutorial.md": "",
}
"""By page, what stands before its example: the names that it takes as given."""

NOT_RUN = {
    "docs/benchmarks.md": "tests/real/test_full_size.py makes a model of that size",
    "docs/conformance.md": "every plugin's tests have such a class",
    "docs/data.md": "tests/core/training/test_preparation.py does it",
    "docs/graphs.md": "tests/plugins/calve_graphs/test_preparation.py does it",
    "docs/hooks.md": "tests/core/test_hooks_page.py does it",
    "docs/training.md": "tests/core/training/test_run.py does it",
    "docs/write-an-encoder.md": "test_examples.py compares it with the example, and trains that",
}

IN_PLACE_OF = {"▁SEVEN ▁NINE": "▁seven ▁nine"}


def test_every_example_is_run_or_says_why_not() -> None:
    assert sorted(RUN | NOT_RUN) == sorted(page for page in PAGES if python_of(page))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything lies that the examples name."""
    folder = tmp_path_factory.mktemp("python")
    for name, source in WEIGHTS.items():
        shutil.copy(REPOSITORY / source, folder / name)
    lstm, conformer = "lstm_transducer_stateless2", "pruned_transducer_stateless5"
    export(lstm, checkpoint="builtin:digits-lstm", output=folder / "bundle")
    onnx = folder / "bundle-onnx"
    export(conformer, checkpoint="builtin:digits-conformer", format="onnx", output=onnx)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_example_works(page: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    if page == "README.md":
        shutil.rmtree(tmp_path / "bundle")
    code = RUN[page] + python_of(page)
    for told, here in IN_PLACE_OF.items():
        code = code.replace(told, here)
    # In a child, as clients of other projects may end the process.
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
