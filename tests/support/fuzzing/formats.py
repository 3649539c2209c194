"""The formats that calve reads: what is mutated, how, and which commands then read it."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzzing.arrays import edit_arrays
from fuzzing.audio import edit_header, odd_samples
from fuzzing.blobs import edit_bytes, edit_lines, edit_place, rewrite
from fuzzing.materials import MODEL_OPTIONS, RECIPE, TRAIN_OPTIONS
from fuzzing.networks import (
    edit_archive,
    edit_onnx,
    edit_param,
    edit_safetensors,
    edit_state_dict,
)
from fuzzing.options import option_commands
from fuzzing.trees import as_json, as_toml, edit_tree, nested
from fuzzing.values import hostile_text

__all__ = ["FORMATS", "Command", "Format"]

Edit = Callable[[Random, Path], str]


@dataclass(frozen=True)
class Command:
    """A command that reads the mutated file.

    Attributes:
      arguments: What follows ``calve``.
      output: The only place where it may write.
      atomic: Whether the output must not exist after a failure.
    """

    arguments: tuple[str, ...]
    output: str | None = None
    atomic: bool = True


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
      name: Name in the table and in replays.
      weight: Share of the mutations.
      needs: Materials that are copied into the case, as ``from`` or ``from:to``.
      files: The files of which one is mutated; patterns below the case.
      edits: The mutations, repeated by their weight.
      commands: Of which one is run, or what draws one.
    """

    name: str
    weight: int
    needs: tuple[str, ...]
    files: tuple[str, ...]
    edits: tuple[Edit, ...]
    commands: Sequence[Command] | Callable[[Random], Command]

    def draw_command(self, rng: Random) -> Command:
        """One of its commands."""
        return self.commands(rng) if callable(self.commands) else rng.choice(list(self.commands))

    def mutate(self, rng: Random, work: Path) -> str:
        """Change one of its files in the case; says what was done."""
        found = sorted(path for pattern in self.files for path in work.glob(pattern))
        if not found:
            return "nothing to mutate"
        path = rng.choice(found)
        edits = (*self.edits, *([edit_bytes, edit_place] if rng.random() < 0.4 else []))
        said = f"{path.relative_to(work)}: {rng.choice(edits)(rng, path)}"
        if path.parent.name == "bundle" and path.name != "bundle.json" and rng.random() < 0.8:
            said += _agree(path)
        return said


def _agree(path: Path) -> str:
    """Let the manifest of the bundle promise what the file is now."""
    if not path.is_file() or path.stat().st_size > 2**24:
        return ""
    manifest = path.parent / "bundle.json"
    content = json.loads(manifest.read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    content["files"][path.name] = {"size": path.stat().st_size, "sha256": digest}
    rewrite(manifest, json.dumps(content))
    return "; the manifest agrees"


def _json(rng: Random, path: Path) -> str:
    tree, said = edit_tree(rng, json.loads(path.read_text()))
    text = as_json(tree)
    if rng.random() < 0.05:
        text, said = text[:-1] + ', "deep": ' + nested(rng) + "}", f"{said}; nested"
    rewrite(path, text)
    return said


def _json_lines(rng: Random, path: Path) -> str:
    packed = path.suffix == ".gz"
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    lines = content.decode().splitlines()
    said = []
    for _ in range(rng.choice((1, 1, 2))):
        number = rng.randrange(len(lines))
        if rng.random() < 0.05:
            lines[number] = rng.choice(
                (nested(rng), "", "null", "[]", "{}", "{", hostile_text(rng))
            )
            said.append(f"line {number} replaced")
        else:
            try:
                tree, edited = edit_tree(rng, json.loads(lines[number]))
            except (ValueError, RecursionError):  # an edit before has seen to that
                continue
            lines[number] = as_json(tree)
            said.append(f"line {number}: {edited}")
    text = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    rewrite(path, gzip.compress(text, mtime=0) if packed else text)
    return "; ".join(said)


def _shards(rng: Random, path: Path) -> str:
    edits = {".gz": _json_lines, ".json": _json}
    return edits.get(path.suffix, edit_bytes)(rng, path)


def _toml(rng: Random, path: Path) -> str:
    tree = {"encoder": {"num_encoder_layers": 1, "encoder_dim": 32}, "model": {"context_size": 2}}
    edited, said = edit_tree(rng, tree)
    text = as_toml(edited)
    if rng.random() < 0.1:
        depth = rng.choice((1000, 100_000))
        text, said = f"a = {'[' * depth}{']' * depth}\n{text}", f"nested {depth} deep"
    rewrite(path, text)
    return said


def _commands(
    *lines: str, output: str | None = None, atomic: bool = True, tail: Sequence[str] = ()
) -> list[Command]:
    return [Command((*line.split(), *tail), output, atomic) for line in lines]


_READ = ("lint bundle --json", "inspect bundle --json", "metadata show bundle")
_RUN = (
    *("transcribe bundle audio/a.wav", "transcribe bundle audio/a.wav audio/b.wav --json"),
    "transcribe bundle audio/a.wav --decoding-method modified_beam_search --json",
)
_BUNDLE = [
    *_commands(*_READ, *_RUN, *_RUN, "verify bundle --json", "bench bundle --runs 1 --json"),
    *_commands("quantize bundle --output q --num-workers 1", output="q"),
    *_commands("metadata write bundle", output="bundle", atomic=False),
]
_LM = "--ngram-lm data/lm/lm.arpa"
_CORPUS = f"{RECIPE} --corpus from-manifests --data-dir data"
_STATE = (*("--checkpoint", "model.pt", "--tokens", "tokens.txt"), *MODEL_OPTIONS)
_LATTICE = "transcribe bundle audio/a.wav --LG data/lang_bpe_30/LG.npz --allow-partial 1"
_PREPARE = (
    "prepare from-manifests --manifest-dir own --train train --valid dev --test test --data-dir "
    "made --jobs 1 --vocab-size 30 --ngram-order 2"
)
_TRAIN = f"train {_CORPUS} --exp-dir new --num-epochs 1"
_DECODE = f"decode {_CORPUS} --exp-dir exp --epoch 1 --avg 1 --split test --res-dir res"


def _bundle(name: str, folder: str, weight: int, pattern: str, *edits: Edit) -> Format:
    needs = (f"{folder}:bundle", "audio")
    return Format(name, weight, needs, (f"bundle/{pattern}",), edits, _BUNDLE)


_AUDIO_COMMANDS = (
    *("transcribe bundle FILE", "transcribe bundle FILE audio/b.wav --json"),
    *("bench bundle FILE --runs 1", "transcribe bundle FILE --reference reference.txt"),
)
_QUANTIZE_AUDIO = "quantize bundle --output q --num-workers 1 --calibration FILE,audio/b.wav"


def _audio(suffix: str, weight: int) -> Format:
    lines = [
        line.replace("FILE", f"audio/a.{suffix}") for line in (*_AUDIO_COMMANDS, _QUANTIZE_AUDIO)
    ]
    commands = [*_commands(*lines[:-1]), *_commands(lines[-1], output="q")]
    needs = ("ncnn:bundle", "audio", "reference.txt")
    edits = (edit_header, edit_header, edit_header, odd_samples)
    return Format(suffix, weight, needs, (f"audio/a.{suffix}",), edits, commands)


def _named_badly(rng: Random, path: Path) -> str:
    """Give a recording another name; the commands name the folder's files by a list."""
    name = hostile_text(rng).encode("utf-8", "surrogateescape" if rng.random() < 0.5 else "replace")
    name = name.replace(b"/", b"_").replace(b"\x00", b"")[:200]
    if rng.random() < 0.3:
        name += b"\xe9\xff"
    target = path.parent / f"{name.decode('utf-8', 'surrogateescape')}.wav"
    path.rename(target)
    return f"renamed to {target.name!r}"


FORMATS: tuple[Format, ...] = (
    _bundle("bundle.json", "ncnn", 10, "bundle.json", _json),
    _bundle("bundle.json-onnx", "onnx", 4, "bundle.json", _json),
    _bundle("bundle.json-torch", "jit-trace", 4, "bundle.json", _json),
    _bundle("golden.npz", "ncnn", 5, "golden.npz", edit_arrays),
    _bundle("tokens.txt", "ncnn", 5, "tokens.txt", edit_lines),
    _bundle("quantization.json", "int8", 3, "quantization.json", _json),
    _bundle("scale-table", "int8", 2, "*-scale-table.txt", edit_lines),
    _bundle("ncnn.param", "ncnn", 8, "*.param", edit_param),
    _bundle("ncnn.bin", "ncnn", 3, "*.bin", edit_bytes),
    _bundle("onnx", "onnx", 8, "*.onnx", edit_onnx),
    _bundle("torchscript", "jit-trace", 5, "*.pt", edit_archive),
    _bundle("torchscript-one", "jit-script", 3, "*.pt", edit_archive),
    _bundle("state-dict", "state-dict", 4, "*.pt", edit_state_dict, edit_archive),
    Format(
        "checkpoint",
        7,
        ("tiny.pt:model.pt", "tokens.txt", "audio"),
        ("model.pt",),
        (edit_state_dict, edit_state_dict, edit_archive),
        [
            *_commands("inspect model.pt --json"),
            *_commands("average --checkpoint model.pt --output averaged.pt", output="averaged.pt"),
            *_commands(f"transcribe --recipe {RECIPE} audio/a.wav", tail=_STATE),
            *_commands(f"export {RECIPE} --format state-dict --output q", output="q", tail=_STATE),
        ],
    ),
    Format(
        "safetensors",
        3,
        ("tiny.safetensors:model.pt", "tokens.txt", "audio"),
        ("model.pt",),
        (edit_safetensors,),
        [
            *_commands("inspect model.pt --json"),
            *_commands("average --checkpoint model.pt --output averaged.pt", output="averaged.pt"),
            *_commands(f"transcribe --recipe {RECIPE} audio/a.wav", tail=_STATE),
        ],
    ),
    Format(
        "symbols",
        3,
        ("tiny.pt:model.pt", "tokens.txt", "audio"),
        ("tokens.txt",),
        (edit_lines,),
        [
            *_commands(f"transcribe --recipe {RECIPE} audio/a.wav --json", tail=_STATE),
            *_commands(f"export {RECIPE} --format state-dict --output q", output="q", tail=_STATE),
        ],
    ),
    _audio("wav", 5),
    _audio("flac", 4),
    _audio("aiff", 3),
    _audio("au", 2),
    Format(
        "file-names",
        2,
        ("ncnn:bundle", "audio:folder", "reference.txt"),
        ("folder/a.wav",),
        (_named_badly,),
        _commands(
            *("transcribe bundle folder/*", "transcribe bundle folder/* --json"),
            *("bench bundle folder/* --runs 1", "transcribe bundle folder/* --unit character"),
        ),
    ),
    Format(
        "graph",
        5,
        ("graph-model:bundle", "audio", "data"),
        ("data/lang_bpe_30/LG.npz",),
        (edit_arrays,),
        _commands(
            f"{_LATTICE} --decoding-method fast_beam_search_LG",
            f"{_LATTICE} --decoding-method fast_beam_search_nbest_LG --num-paths 20",
        ),
    ),
    Format(
        "hotwords",
        3,
        ("ncnn:bundle", "audio", "hotwords.txt"),
        ("hotwords.txt",),
        (edit_lines,),
        _commands(f"{_RUN[2]} --hotwords-file hotwords.txt"),
    ),
    Format(
        "arpa",
        3,
        ("ncnn:bundle", "audio", "symbols.arpa"),
        ("symbols.arpa",),
        (edit_lines,),
        _commands(f"{_RUN[2]} --ngram-lm symbols.arpa"),
    ),
    Format(
        "references",
        4,
        ("ncnn:bundle", "audio", "reference.txt", "reference.jsonl", "reference.jsonl.gz"),
        ("reference.jsonl", "reference.jsonl.gz"),
        (_json_lines,),
        _commands(
            "transcribe bundle audio/a.wav audio/b.wav --reference reference.jsonl",
            "transcribe bundle audio/a.wav audio/b.wav --reference reference.jsonl.gz",
        ),
    ),
    Format(
        "references-text",
        2,
        ("ncnn:bundle", "audio", "reference.txt"),
        ("reference.txt",),
        (edit_lines,),
        _commands(
            "transcribe bundle audio/a.wav audio/b.wav --reference reference.txt --unit character",
            "transcribe bundle audio/a.wav audio/b.wav --reference reference.txt",
        ),
    ),
    Format(
        "manifests",
        7,
        ("own",),
        ("own/*.jsonl.gz",),
        (_json_lines,),
        _commands(_PREPARE, f"{_PREPARE} --stop-stage 1", output="made", atomic=False),
    ),
    Format(
        "language",
        3,
        ("own", "data:made"),
        ("made/lm/lm.arpa", "made/lang_bpe_30/*"),
        (edit_lines,),
        [
            *_commands(f"{_PREPARE} --stage 3", output="made", atomic=False),
            *_commands(f"{_PREPARE} --stage 3 --lm made/lm/lm.arpa", output="made", atomic=False),
        ],
    ),
    Format(
        "corpus",
        5,
        ("own", "data", "exp"),
        ("data/*/*.json", "data/*/*/*.json"),
        (_json,),
        [
            *_commands(_TRAIN, output="new", atomic=False, tail=TRAIN_OPTIONS),
            *_commands(_DECODE, output="res", atomic=False, tail=TRAIN_OPTIONS[:10]),
        ],
    ),
    Format(
        "cuts",
        5,
        ("own", "data", "exp"),
        ("data/*/*/*.jsonl.gz",),
        (_json_lines,),
        [
            *_commands(_TRAIN, output="new", atomic=False, tail=TRAIN_OPTIONS),
            *_commands(_DECODE, output="res", atomic=False, tail=TRAIN_OPTIONS[:10]),
        ],
    ),
    Format(
        "shar",
        4,
        ("own", "sharded:data", "shar", "exp"),
        ("shar/*/*", "data/fbank/*/*.json"),
        (_shards,),
        _commands(_TRAIN, output="new", atomic=False, tail=TRAIN_OPTIONS),
    ),
    Format(
        "config.toml",
        3,
        ("own", "data", "config.toml"),
        ("config.toml",),
        (_toml,),
        _commands(
            f"train {_CORPUS} --exp-dir new --num-epochs 1 --config config.toml",
            output="new",
            atomic=False,
            tail=TRAIN_OPTIONS[4:],
        ),
    ),
    Format(
        "config.json",
        3,
        ("own", "data", "exp"),
        ("exp/config.json",),
        (_json,),
        [
            *_commands(
                f"train {_CORPUS} --exp-dir exp --num-epochs 1 --resume 1",
                output="exp",
                atomic=False,
                tail=TRAIN_OPTIONS,
            ),
            *_commands(_DECODE, output="res", atomic=False, tail=TRAIN_OPTIONS[:10]),
        ],
    ),
    Format(
        "records",
        3,
        ("own", "data", "exp", "results"),
        ("results/*/record-*.json",),
        (_json,),
        _commands(
            _DECODE.replace("--res-dir res", "--res-dir results"),
            output="results",
            atomic=False,
            tail=TRAIN_OPTIONS[:10],
        ),
    ),
    Format(
        "curves",
        2,
        ("exp",),
        ("exp/tensorboard/*", "exp/log/*"),
        (edit_bytes,),
        _commands("plot exp --output picture.svg", output="picture.svg"),
    ),
    Format(
        "options",
        5,
        ("ncnn:bundle", "tiny.pt:model.pt", "tokens.txt", "audio"),
        (),
        (),
        option_commands,
    ),
)
