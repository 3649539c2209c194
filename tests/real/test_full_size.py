"""The full-size model of icefall's guide, with random weights, and its file sizes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from calve.data.tokens import SymbolTable
from calve.exporting.export import export
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_ncnn.layout import bin_path
from calve_onnx.layout import find_network
from calve_transducer.family import TransducerFamily
from calve_transducer.model.config import TransducerConfig

RECIPE = "lstm_transducer_stateless2"
VOCAB_SIZE = 500
PARAMETERS = 84_176_356

# Sizes as `ls -lh` prints them (binary units, rounded up): the table in icefall's documentation
# of this export, which has no float32 decoder.
SIZES = {
    ("encoder", True): (159, 20),
    ("encoder", False): (317, 20),
    ("decoder", True): (503, 10),
    ("joiner", True): (1.5, 20),
    ("joiner", False): (3.0, 20),
}


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("full-size")
    torch.manual_seed(0)
    model = TransducerFamily().build(
        LstmEncoder(LstmEncoderConfig()), TransducerConfig(vocab_size=VOCAB_SIZE)
    )
    torch.save({"model": model.state_dict()}, folder / "pretrained.pt")
    symbols = ("<blk>", "<sos/eos>", "<unk>", *(f"▁{i}" for i in range(3, VOCAB_SIZE)))
    SymbolTable(symbols).write(folder / "tokens.txt")
    return folder / "pretrained.pt", folder / "tokens.txt"


@pytest.mark.slow
@pytest.mark.parametrize("fp16", [True, False])
def test_sizes_and_parity_of_the_documented_model(
    model_files: tuple[Path, Path], tmp_path: Path, fp16: bool
) -> None:
    checkpoint, tokens = model_files
    bundle = export(
        RECIPE, checkpoint=checkpoint, tokens=tokens, output=tmp_path / "bundle", fp16=fp16
    )
    assert bundle.manifest.parameters["total"] == PARAMETERS
    assert bundle.manifest.parity["tokens_equal"]
    assert bundle.manifest.parity["max_abs_error"] <= (1e-2 if fp16 else 1e-4)
    for (network, half), (documented, exponent) in SIZES.items():
        if half == fp16:
            size = bin_path(bundle.path, network).stat().st_size / 2**exponent
            digits = 1 if documented < 10 else 0
            shown = math.ceil(size * 10**digits) / 10**digits
            assert shown == pytest.approx(documented, abs=0.001), network


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "megabytes"), [("fp32", 333), ("fp16", 167), ("int8", 84)])
def test_onnx_sizes_and_parity_of_the_documented_model(
    model_files: tuple[Path, Path], tmp_path: Path, precision: str, megabytes: int
) -> None:
    checkpoint, tokens = model_files
    bundle = export(
        RECIPE,
        checkpoint=checkpoint,
        tokens=tokens,
        output=tmp_path / "bundle",
        format="onnx",
        precision=precision,
    )
    size = find_network(bundle.path, "encoder").stat().st_size / 1e6
    assert size == pytest.approx(megabytes, rel=0.02)
    if precision != "int8":
        assert bundle.manifest.parity["tokens_equal"]
        assert bundle.manifest.parity["max_abs_error"] <= (1e-2 if precision == "fp16" else 1e-4)
