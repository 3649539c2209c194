"""The built-in commands, in the order in which they are used to make a model."""

from __future__ import annotations

from calve.common.references import LazyRef
from calve.registry.specs import CommandSpec

__all__ = ["BUILTIN_COMMANDS"]

_SHORT_HELP = {
    "demo": "Show the main job on the shipped model: checkpoint to bundle to text.",
    "prepare": "Prepare a corpus: manifests, features, tokens.",
    "train": "Train a recipe on a prepared corpus.",
    "average": "Average checkpoints into one file that holds the model alone.",
    "decode": "Decode a corpus with a checkpoint, and with a bundle of it; print the WER.",
    "streaming-decode": "Decode a corpus chunk by chunk in many streams; print WER and latency.",
    "export": "Turn a checkpoint into a bundle for a device.",
    "metadata": "Show or write the metadata that a runtime needs.",
    "lint": "Find what a runtime would choke on, without running the model.",
    "quantize": "Make a bundle smaller and faster, and measure what that costs.",
    "transcribe": "Transcribe recordings with a bundle.",
    "verify": "Re-run the golden inputs and outputs kept in a bundle.",
    "bench": "Measure the speed and memory of a bundle.",
    "inspect": "Show what is in a checkpoint, bundle, network or symbol table.",
    "doctor": "Check this environment: versions, clients, drivers, the machine.",
    "plugins": "List, check and describe plugins.",
}


def _builtin(name: str) -> CommandSpec:
    attribute = name.replace("-", "_")
    return CommandSpec(name, LazyRef(f"calve.cli.{attribute}:{attribute}"), _SHORT_HELP[name])


BUILTIN_COMMANDS = tuple(_builtin(name) for name in _SHORT_HELP)
