"""A small corpus for the commands that decode."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from calve.bundles.bundle import Bundle
from calve.cli import run
from calve.exporting.export import export

SPEAKERS = ("george", "theo")


@pytest.fixture(scope="session")
def data_dir(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prepared corpus of real digits."""
    root = tmp_path_factory.mktemp("fsdd")
    for speaker in SPEAKERS:
        for digit in range(10):
            for index in (0, 5, 6):
                name = f"{digit}_{speaker}_{index}.wav"
                shutil.copyfile(shared_data / "fsdd" / "recordings" / name, root / name)
    folder = tmp_path_factory.mktemp("prepared") / "fsdd"
    arguments = {
        "--root": root,
        "--data-dir": folder,
        "--held-out-speaker": "theo",
        "--train-variants": 1,
        "--test-variants": 1,
        "--synthetic-fraction": 0,
        "--jobs": 1,
    }
    words = [str(word) for pair in arguments.items() for word in pair]
    assert run(["prepare", "fsdd", *words, "--stop-stage", "3"]) == 0
    return folder


@pytest.fixture(scope="session")
def offline_checkpoint(goldens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A golden ``pruned_transducer_stateless5``, as if its convolutions saw future frames."""
    trained = torch.load(goldens / "pruned_transducer_stateless5.ckpt.pt", weights_only=False)
    path = tmp_path_factory.mktemp("offline") / "offline.pt"
    torch.save(trained | {"causal_convolution": False}, path)
    return path


@pytest.fixture(scope="session")
def offline_bundle(
    offline_checkpoint: Path, golden_tokens: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """`offline_checkpoint` exported for whole utterances; not to be written to."""
    return export(
        "pruned_transducer_stateless5",
        checkpoint=offline_checkpoint,
        tokens=golden_tokens,
        output=tmp_path_factory.mktemp("offline") / "bundle",
        format="jit-script",
    )
