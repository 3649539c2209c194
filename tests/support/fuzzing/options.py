"""Hostile values of options."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from fuzzing.materials import MODEL_OPTIONS, RECIPE
from fuzzing.values import hostile_number, hostile_text

if TYPE_CHECKING:
    from fuzzing.formats import Command

__all__ = ["option_commands"]

_CHECKPOINT = ("--checkpoint", "model.pt", "--tokens", "tokens.txt", *MODEL_OPTIONS)
_TRANSCRIBE = (
    *("--num-threads", "--chunk-ms", "--decoding-method", "--max-sym-per-frame", "--beam"),
    *("--blank-penalty", "--temperature", "--hotwords-score", "--max-contexts", "--unit"),
    *("--max-states", "--hotwords-file", "--ngram-lm", "--reference", "--LG", "--nbest-scale"),
    *("--num-paths", "--res-dir", "--ilme-scale", "--ngram-lm-scale", "--bpe-model"),
)
_METHODS = ("greedy_search", "modified_beam_search", "fast_beam_search", "fast_beam_search_nbest")
_MODEL = (
    *("--dropout", "--layer-dropout", "--vocab-size", "--context-size", "--decoder-dim"),
    *("--num-encoder-layers", "--encoder-dim", "--rnn-hidden-size", "--dim-feedforward"),
    *("--blank-id", "--feature-dim", "--aux-layer-period", "--tokens", "--checkpoint", "--format"),
    *("--epoch", "--iter", "--avg", "--exp-dir", "--fp16", "--strict", "--streaming-model"),
)
_QUANTIZE = (
    *("--num-workers", "--scheme", "--calibration", "--method", "--table", "--layer-types"),
    *("--keep-fp16", "--evaluation", "--reference", "--max-wer-increase"),
)


def option_commands(rng: Random) -> Command:
    """A command with a hostile value for one or two of its options."""
    from fuzzing.formats import Command

    kind = rng.choice(("transcribe", "transcribe", "export", "quantize", "bench", "verify"))
    if kind == "transcribe":
        method = rng.choice(_METHODS)
        start = ("transcribe", "bundle", "audio/a.wav", "--decoding-method", method)
        return Command((*start, *_hostile(rng, _TRANSCRIBE)))
    if kind == "export":
        start = ("export", RECIPE, *_CHECKPOINT, "--format", "state-dict", "--output", "q")
        return Command((*start, *_hostile(rng, _MODEL)), "q")
    if kind == "quantize":
        start = ("quantize", "bundle", "--output", "q", "--num-workers", "1")
        return Command((*start, *_hostile(rng, _QUANTIZE)), "q")
    if kind == "bench":
        options = ("--runs", "--num-threads", "--chunk-ms", "--against", "--client-bundle")
        return Command(("bench", "bundle", "--runs", "1", *_hostile(rng, options)))
    return Command(("verify", "bundle", "--num-threads", str(hostile_number(rng))))


def _hostile(rng: Random, names: tuple[str, ...]) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    for _ in range(rng.choice((1, 1, 2))):
        value = str(rng.choice((hostile_number, hostile_number, hostile_text))(rng))
        # A program's arguments end at a NUL and are no lone surrogates.
        value = value.replace("\x00", "").encode("utf-8", "replace").decode()
        found += (rng.choice(names), value)
    return found
