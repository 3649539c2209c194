"""The built-in commands, in the order in which they are used to make a model."""

from __future__ import annotations

from calve.common.references import LazyRef
from calve.registry.specs import CommandSpec

__all__ = ["BUILTIN_COMMANDS"]

_SHORT_HELP = {
    "demo": "Export, verify and run a shipped checkpoint.",
    "prepare": "Prepare a corpus: manifests, features, tokens.",
    "train": "Train a recipe on a prepared corpus.",
    "average": "Average checkpoints into one small file.",
    "decode": "Decode a corpus and print the word error rate.",
    "streaming-decode": "Decode a corpus in parallel streams; print the WER.",
    "export": "Export a checkpoint as a bundle for a device.",
    "metadata": "Show or write the metadata that a client needs.",
    "lint": "Find errors in a bundle without running the model.",
    "quantize": "Quantize a bundle and measure the loss of accuracy.",
    "transcribe": "Transcribe recordings with a bundle or a checkpoint.",
    "verify": "Check that a bundle still gives the results of its export.",
    "bench": "Measure the speed and memory of a bundle.",
    "inspect": "Show what is in a checkpoint, bundle or network.",
    "doctor": "Check the installation and the machine.",
    "plugins": "List, check and describe plugins.",
}


def _builtin(name: str) -> CommandSpec:
    attribute = name.replace("-", "_")
    return CommandSpec(name, LazyRef(f"calve.cli.{attribute}:{attribute}"), _SHORT_HELP[name])


BUILTIN_COMMANDS = tuple(_builtin(name) for name in _SHORT_HELP)
