"""Every reader names a Git LFS pointer and a link that leads nowhere as such."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from calve.bundles.bundle import Bundle, read_manifest
from calve.cli.application import run
from calve.data.audio import read_audio
from calve.data.hotwords import read_hotwords
from calve.data.recordings import read_transcripts
from calve.data.tokens import SymbolTable
from calve.errors import CalveError
from calve.models.checkpoint_files import read_checkpoint
from calve_graphs.grammar import grammar_text
from calve_graphs.graph import DecodingGraph
from calve_graphs.lexicon import Lexicon
from calve_lhotse.subwords import load_subwords
from calve_ncnn.int8.table import ScaleTable
from calve_ncnn.param import ParamFile
from calve_ncnn.weights import read_weights
from calve_onnx.metadata import stamp
from calve_onnx.network import OnnxNetwork
from calve_torchscript.layout import present
from calve_transducer.searches.hotwords import Speller

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4b\nsize 244865\n"
SYMBOLS = SymbolTable(("<blk>", "▁one"))

READERS: dict[str, Callable[[Path], object]] = {
    "epoch-1.pt": read_checkpoint,
    "tokens.txt": SymbolTable.read,
    "bpe.model": load_subwords,
    "hot.model": lambda path: Speller(SYMBOLS, path),
    "hotwords.txt": read_hotwords,
    "a.wav": read_audio,
    "transcripts.txt": read_transcripts,
    "supervisions.jsonl.gz": read_transcripts,
    "LG.npz": DecodingGraph.read,
    "lexicon.txt": Lexicon.read,
    "lm.arpa": lambda path: grammar_text(path, SYMBOLS),
    "encoder.onnx": OnnxNetwork,
    "decoder.onnx": lambda path: stamp(path, {}),
    "encoder.param": ParamFile.read,
    "encoder.bin": read_weights,
    "scale.table": ScaleTable.read,
    "encoder_jit_trace.pt": present,
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_names_a_pointer(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(POINTER)
    with pytest.raises(CalveError, match="this is a Git LFS pointer") as caught:
        READERS[name](path)
    assert str(caught.value.where) == str(path)
    assert caught.value.fix == f"run: git lfs pull --include '*{name}'"


@pytest.mark.parametrize("name", ["bundle.json", "joiner_jit_trace-pnnx.ncnn.bin", "tokens.txt"])
def test_a_pointer_in_a_bundle_is_named(bundle_dir: Path, name: str) -> None:
    (bundle_dir / name).write_text(POINTER)
    with pytest.raises(CalveError, match="this is a Git LFS pointer"):
        read_manifest(bundle_dir) if name == "bundle.json" else Bundle.open(bundle_dir)


def test_a_manifest_to_prepare_from_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("train", "dev"):
        for kind in ("recordings", "supervisions"):
            (tmp_path / f"own_{kind}_{part}.jsonl.gz").write_text(POINTER)
    arguments = ["--manifest-dir", str(tmp_path), "--train", "train", "--valid", "dev"]
    data_dir = ["--data-dir", str(tmp_path / "data"), "--jobs", "1"]
    assert run(["prepare", "from-manifests", *arguments, *data_dir, "--stop-stage", "0"]) == 1
    assert "this is a Git LFS pointer" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in READERS if name != "decoder.onnx"])
def test_a_reader_names_a_link_that_leads_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("elsewhere")
    with pytest.raises(CalveError, match="points to elsewhere, which does not exist"):
        READERS[name](tmp_path / name)
