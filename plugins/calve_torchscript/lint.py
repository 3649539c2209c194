"""Lint for TorchScript: finds methods that k2-fsa/sherpa would call and not find."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from calve.api import BundleError, CheckpointError, ConfigError, TokensError
from calve.bundles.bundle import TOKENS_FILE
from calve.common.children import Child, run_children
from calve.common.files import scratch_folder
from calve.data.tokens import SymbolTable
from calve.protocols import Finding
from calve.services import read_checkpoint
from calve_torchscript.layout import (
    MODEL_FILE,
    WEIGHTS_FILE,
    check_code,
    load_networks,
    network_files,
)

__all__ = ["lint", "lint_loaded", "lint_weights"]

_EXPORT_AGAIN = "export the bundle again"
_TIME_LIMIT = 120.0
_MEMORY_LIMIT = 32 * 2**30
_USED = {
    "RNN": ("encoder.forward", "encoder.get_init_states", "decoder.conv", "joiner.forward"),
    "Conformer": (
        "encoder.forward",
        "encoder.get_init_state",
        "encoder.streaming_forward",
        "encoder.subsampling_factor",
        "decoder.context_size",
        "joiner.encoder_proj",
        "joiner.decoder_proj",
    ),
    "OfflineEncoder": (
        "encoder.forward",
        "decoder.context_size",
        "joiner.encoder_proj",
        "joiner.decoder_proj",
    ),
}
"""What sherpa calls and reads, by the class of the encoder."""


def lint_weights(bundle_dir: Path, runtime: str | None = None) -> list[Finding]:
    """Look at ``pretrained.pt``: readable without running code, with a model inside."""
    _check_runtime(runtime, "state-dict")
    path = bundle_dir / WEIGHTS_FILE
    try:
        checkpoint = read_checkpoint(path)
    except CheckpointError as error:
        return [_error("file", path, error.what, error.fix)]
    if "model" not in checkpoint:
        return [_error("model", path, "the file holds no entry 'model'", _EXPORT_AGAIN)]
    return []


def lint(bundle_dir: Path, runtime: str | None = None) -> list[Finding]:
    """Look at TorchScript files: at their code here, at what they load as in a child process.

    Args:
      bundle_dir: The directory; ``bundle.json`` is not needed.
      runtime: "torchscript" or "sherpa"; None for all.

    Raises:
      ConfigError: if there is no such runtime.
    """
    _check_runtime(runtime, "torchscript", "sherpa")
    try:
        for path in network_files(bundle_dir):
            check_code(path)
    except BundleError as error:
        return [_error("file", Path(error.where or bundle_dir), error.what, error.fix)]
    task = {"folder": str(bundle_dir.resolve()), "runtime": runtime}
    with scratch_folder("calve-lint-") as folder:
        child = Child(
            name="lint",
            command=[sys.executable, "-m", "calve_torchscript.lint_child"],
            folder=folder,
            time_limit=_TIME_LIMIT,
            input=json.dumps(task),
            memory_limit=_MEMORY_LIMIT,
            keep_stdout=True,
        )
        (outcome,) = run_children([child])
    if outcome.failure:
        what = f"torch cannot load the networks: the process that tried {outcome.failure}"
        return [_error("file", bundle_dir, what, None)]
    found = [Finding(**finding) for finding in json.loads(outcome.stdout)]
    resolved = str(bundle_dir.resolve())
    return [replace(one, where=one.where.replace(resolved, str(bundle_dir))) for one in found]


def lint_loaded(bundle_dir: Path, runtime: str | None) -> list[Finding]:
    """The findings of `lint` for which the networks are loaded, in this process."""
    try:
        networks = load_networks(bundle_dir)
    except BundleError as error:
        return [_error("file", Path(error.where or bundle_dir), error.what, error.fix)]
    findings = [*_interface(networks, bundle_dir), *_symbols(networks["decoder"], bundle_dir)]
    if runtime != "torchscript":
        findings += _layout(networks["encoder"], bundle_dir)
    return findings


def _interface(networks: dict[str, Any], bundle_dir: Path) -> Iterator[Finding]:
    name = networks["encoder"].original_name
    if name not in _USED:
        what = f"sherpa's interface for encoders of class {name} is not known"
        yield _error("class-name", bundle_dir, what, f"known classes are {', '.join(_USED)}")
        return
    for used in _USED[name]:
        network, _, attribute = used.partition(".")
        if not hasattr(networks[network], attribute):
            what = f"the {network} has no {attribute}, which sherpa uses"
            yield _error("interface", bundle_dir, what, _EXPORT_AGAIN)


def _layout(encoder: Any, bundle_dir: Path) -> Iterator[Finding]:
    if encoder.original_name == "Conformer" and not (bundle_dir / MODEL_FILE).is_file():
        yield Finding(
            "warning",
            "layout",
            str(bundle_dir),
            "sherpa loads a Conformer from one file, and these are three",
            "for sherpa, export it to jit-script",
        )


def _symbols(decoder: Any, bundle_dir: Path) -> Iterator[Finding]:
    path = bundle_dir / TOKENS_FILE
    if not hasattr(decoder, "embedding"):
        what = "the decoder has no embedding, which calve reads"
        yield _error("interface", bundle_dir, what, _EXPORT_AGAIN)
        return
    try:
        SymbolTable.read(path).for_vocabulary(decoder.embedding.weight.size(0))
    except TokensError as error:
        yield _error("tokens", path, error.what, error.fix)


def _check_runtime(runtime: str | None, *known: str) -> None:
    if runtime is not None and runtime not in known:
        raise ConfigError(
            f"these bundles have no runtime {runtime!r}", fix=f"give one of {', '.join(known)}"
        )


def _error(code: str, where: Path, what: str, fix: str | None) -> Finding:
    return Finding("error", code, str(where), what, fix or _EXPORT_AGAIN)
