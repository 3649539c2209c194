"""The main job with several releases of pnnx and ncnn: ``make compat``.

Each pair of wheels is downloaded into a folder of its own that shadows the installed ones, so
this needs a package index; without ``CALVE_COMPAT=1`` it is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calve.tokens import SymbolTable
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_transducer.config import TransducerConfig
from calve_transducer.family import TransducerFamily

WHEELS = [
    ("20261020", "1.0.20261020"),
    ("20260526", "1.0.20260526"),
    ("20260112", "1.0.20260114"),
    ("20251119", "1.0.20250916"),
]
RECIPE = "lstm_transducer_stateless2"
VOCAB_SIZE = 40
FP32_LIMIT = 1e-4
FP16_LIMIT = 1e-2
"""Relative to outputs of up to 7; releases of pnnx before 2026-10 cut off what does not fit into
float16 (an error of 2**-10) where newer ones round (2**-11)."""

pytestmark = pytest.mark.skipif(
    not os.environ.get("CALVE_COMPAT"), reason="downloads wheels; run by `make compat`"
)


@pytest.fixture(scope="module", params=WHEELS, ids=lambda pair: f"pnnx-{pair[0]}")
def environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Environment variables with which Python sees the pair of wheels."""
    pnnx, ncnn = request.param
    folder = tmp_path_factory.mktemp(f"pnnx-{pnnx}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, f"pnnx=={pnnx}", f"ncnn=={ncnn}"], check=True)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint with random weights, and its symbol table."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    encoder = LstmEncoder(
        LstmEncoderConfig(
            num_encoder_layers=3, encoder_dim=48, rnn_hidden_size=80, dim_feedforward=96
        )
    )
    config = TransducerConfig(vocab_size=VOCAB_SIZE, decoder_dim=40, joiner_dim=56)
    model = TransducerFamily().build(encoder, config)
    torch.save({"model": model.state_dict()}, folder / "pretrained.pt")
    symbols = ("<blk>", "<sos/eos>", "<unk>", *(f"▁{i}" for i in range(3, VOCAB_SIZE)))
    SymbolTable(symbols).write(folder / "tokens.txt")
    return folder / "pretrained.pt", folder / "tokens.txt"


def calve(environment: dict[str, str], *arguments: object) -> str:
    script = "from calve.cli import main; main()"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize(("flag", "limit"), [("--no-fp16", FP32_LIMIT), ("--fp16", FP16_LIMIT)])
def test_export_lint_and_verify(
    environment: dict[str, str],
    model_files: tuple[Path, Path],
    tmp_path: Path,
    flag: str,
    limit: float,
) -> None:
    checkpoint, tokens = model_files
    bundle = tmp_path / "bundle"
    options = ("--checkpoint", checkpoint, "--tokens", tokens, "--output", bundle, flag)
    calve(environment, "export", RECIPE, "--format", "ncnn", *options)
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    wheels = Path(environment["PYTHONPATH"].split(os.pathsep)[0])
    for tool in ("pnnx", "ncnn"):
        assert (wheels / f"{tool}-{manifest['tools'][tool]}.dist-info").is_dir()
    assert manifest["parity"]["max_abs_error"] <= limit
    assert manifest["parity"]["tokens_equal"]
    assert json.loads(calve(environment, "lint", bundle, "--json"))["findings"] == []
    assert json.loads(calve(environment, "verify", bundle, "--json"))["passed"]
