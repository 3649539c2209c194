"""The sound files that are mutated: small models, bundles, recordings and a prepared corpus.

They are made from random numbers and from words of noise, the same each time.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

__all__ = ["MODEL_OPTIONS", "RECIPE", "TRAIN_OPTIONS", "make_materials"]

RECIPE = "lstm_transducer_stateless2"
MODEL_OPTIONS = (
    *("--num-encoder-layers", "2", "--encoder-dim", "32", "--rnn-hidden-size", "48"),
    *("--decoder-dim", "32", "--joiner-dim", "32"),
)
TRAIN_OPTIONS = (
    *("--num-encoder-layers", "1", "--encoder-dim", "32", "--rnn-hidden-size", "32"),
    *("--dim-feedforward", "64", "--decoder-dim", "32", "--joiner-dim", "32"),
    *("--enable-musan", "0", "--num-workers", "0", "--num-threads", "1"),
)
_FORMATS = ("ncnn", "onnx", "jit-trace", "jit-script", "state-dict")
_RATE = 16000
_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_PARTS = {"train": 10, "dev": 2, "test": 2}


def make_materials(folder: Path) -> Path:
    """Fill ``folder``, unless an earlier run has; return it."""
    done = folder / "complete"
    if done.is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _write_model(folder)
    _write_audio(folder / "audio")
    for name in _FORMATS:
        _calve(
            folder,
            "export",
            RECIPE,
            *_checkpoint(),
            *MODEL_OPTIONS,
            "--format",
            name,
            "--output",
            name,
        )
    _calve(folder, "quantize", "ncnn", *_calibration(), "--output", "int8")
    _write_manifests(folder / "own")
    _calve(folder, *_prepare("data"))
    _calve(folder, *_prepare("sharded"), "--shar-dir", "shar")
    trained = ("--corpus", "from-manifests", "--data-dir", "data", "--exp-dir", "exp")
    _calve(folder, "train", RECIPE, *trained, *TRAIN_OPTIONS, "--num-epochs", "1")
    decoded = (*trained, "--epoch", "1", "--avg", "1", "--split", "test", "--res-dir", "results")
    _calve(folder, "decode", RECIPE, *decoded, *TRAIN_OPTIONS[:10])
    trained = ("--exp-dir", "exp", "--epoch", "1", "--avg", "1", "--use-averaged-model", "0")
    tokens = ("--tokens", "data/lang_bpe_30/tokens.txt", "--output", "graph-model")
    _calve(folder, "export", RECIPE, *trained, *tokens, *TRAIN_OPTIONS[:10])
    _write_texts(folder)
    done.touch()
    return folder


def _calve(folder: Path, *arguments: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    outcome = subprocess.run(
        [sys.executable, "-m", "calve", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if outcome.returncode:
        raise RuntimeError(f"calve {' '.join(arguments)}\n{outcome.stdout}{outcome.stderr}")


def _checkpoint() -> Sequence[str]:
    return ("--checkpoint", "tiny.pt", "--tokens", "tokens.txt")


def _calibration() -> Sequence[str]:
    return ("--calibration", "audio/a.wav,audio/b.wav", "--num-workers", "1")


def _prepare(data: str) -> Sequence[str]:
    parts = ("--train", "train", "--valid", "dev", "--test", "test", "--jobs", "1")
    options = ("--vocab-size", "30", "--ngram-order", "2", "--data-dir", data)
    return ("prepare", "from-manifests", "--manifest-dir", "own", *parts, *options)


def _write_model(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from small_models import SYMBOLS, small_lstm

    weights = small_lstm().state_dict()
    torch.save({"model": weights, "epoch": 1}, folder / "tiny.pt")
    save_file({k: v.contiguous().clone() for k, v in weights.items()}, folder / "tiny.safetensors")
    SYMBOLS.write(folder / "tokens.txt")


def _speech(number: int, words: Sequence[str]) -> np.ndarray:
    """Noise that is colored by the word, loud and soft as speech is."""
    rng = np.random.default_rng(number)
    pieces = []
    for word in words:
        noise = rng.normal(size=3200)
        tone = np.sin(np.arange(3200) * (0.05 + 0.05 * _WORDS.index(word)))
        pieces += [0.1 * (noise * 0.2 + tone) * np.hanning(3200), np.zeros(800)]
    return np.concatenate(pieces)


def _write_audio(folder: Path) -> None:
    folder.mkdir()
    for name, suffixes in (("a", ("wav", "flac", "aiff", "au")), ("b", ("wav",))):
        samples = _speech(ord(name), ["one", "two", "three"] * 2)
        for suffix in suffixes:
            soundfile.write(folder / f"{name}.{suffix}", samples, _RATE, subtype="PCM_16")


def _write_manifests(folder: Path) -> None:
    """Recordings and supervisions as lhotse's recipes leave them."""
    folder.mkdir()
    number = 0
    for part, count in _PARTS.items():
        recordings, supervisions = [], []
        for index in range(count):
            number += 1
            words = [_WORDS[(number * 3 + step * 7) % 10] for step in range(3)]
            samples = _speech(number, words)
            path = folder / f"{part}{index}.wav"
            soundfile.write(path, samples, _RATE, subtype="PCM_16")
            seconds = len(samples) / _RATE
            source = {"type": "file", "channels": [0], "source": f"own/{path.name}"}
            recording = {"id": f"{part}{index}", "sources": [source], "sampling_rate": _RATE}
            recordings.append(recording | {"num_samples": len(samples), "duration": seconds})
            supervision = {"id": f"{part}{index}-0", "recording_id": f"{part}{index}", "start": 0.0}
            more = {"duration": seconds, "channel": 0, "text": " ".join(words)}
            supervisions.append(supervision | more)
        for kind, items in (("recordings", recordings), ("supervisions", supervisions)):
            text = "".join(json.dumps(item) + "\n" for item in items)
            path = folder / f"own_{kind}_{part}.jsonl.gz"
            path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _write_texts(folder: Path) -> None:
    (folder / "hotwords.txt").write_text(
        "▁w1 ▁w2 :2.0\n▁w11\n# a comment\n▁w4 ▁w4\n", encoding="utf-8"
    )
    (folder / "words.txt").write_text("ONE TWO :3.0\nTHREE\n", encoding="utf-8")
    (folder / "reference.txt").write_text("a.wav\tw1 w2 w3\nb.wav\tw4\n", encoding="utf-8")
    lines = ({"id": "a", "text": "w1 w2"}, {"id": "b", "text": "w4"})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "reference.jsonl").write_text(text, encoding="utf-8")
    (folder / "reference.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    toml = "[encoder]\nnum_encoder_layers = 1\nencoder_dim = 32\n[model]\ncontext_size = 2\n"
    (folder / "config.toml").write_text(toml, encoding="utf-8")
    (folder / "symbols.arpa").write_text(_arpa(), encoding="utf-8")


def _arpa() -> str:
    """A bigram model over the symbols of the small model."""
    unigrams = ["<s>", "</s>", "<unk>", *(f"▁w{number}" for number in range(17))]
    bigrams = [f"▁w{number} ▁w{number * 5 % 17}" for number in range(17)]
    counts = f"\\data\\\nngram 1={len(unigrams)}\nngram 2={len(bigrams)}\n"
    ones = "".join(f"-1.3\t{word}\t-0.3\n" for word in unigrams)
    twos = "".join(f"-0.5\t{words}\n" for words in bigrams)
    return f"{counts}\n\\1-grams:\n{ones}\n\\2-grams:\n{twos}\n\\end\\\n"
