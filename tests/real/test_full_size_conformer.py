"""The conformer of icefall's `pruned_transducer_stateless5` in full size, with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from calve.data.tokens import SymbolTable
from calve.exporting.export import export
from calve.exporting.verification import FAILED, verify
from calve.models.checkpoint_files import save_model
from calve.models.loading import ModelBuilder

RECIPE = "pruned_transducer_stateless5"
VOCAB_SIZE = 500


@pytest.mark.slow
def test_ncnn_agrees_with_torch_at_full_size(tmp_path: Path) -> None:
    checkpoint, tokens = tmp_path / "pretrained.pt", tmp_path / "tokens.txt"
    torch.manual_seed(0)
    builder = ModelBuilder(RECIPE)
    save_model(checkpoint, builder.build(builder.resolve({})).state_dict(), {})
    symbols = ("<blk>", "<sos/eos>", "<unk>", *(f"▁{i}" for i in range(3, VOCAB_SIZE)))
    SymbolTable(symbols).write(tokens)
    bundle = export(
        RECIPE,
        checkpoint=checkpoint,
        tokens=tokens,
        output=tmp_path / "bundle",
        overrides={"encoder": {"causal_convolution": True}},
        fp16=False,
    )
    assert bundle.manifest.config["encoder"]["num_encoder_layers"] == 24
    assert bundle.manifest.parity["max_abs_error"] <= 1e-4
    assert bundle.manifest.parity["tokens_equal"]
    assert bundle.manifest.parity["tokens"]
    assert FAILED not in [check.outcome for check in verify(bundle.path)]
