"""Finds what k2-fsa/sherpa would call and not find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calve.api import BundleError, CheckpointError, ConfigError, TokensError
from calve.bundle import TOKENS_FILE
from calve.checkpoint import read_checkpoint
from calve.protocols import Finding
from calve.tokens import SymbolTable
from calve_torchscript.layout import WEIGHTS_FILE, load_networks

__all__ = ["lint", "lint_weights"]

_EXPORT_AGAIN = "export the bundle again"
_METHODS = {"RNN": ("forward", "get_init_states")}
"""What sherpa calls on an encoder, by its class."""


def lint_weights(bundle_dir: Path, runtime: str | None = None) -> list[Finding]:
    """Look at ``pretrained.pt``: readable without running code, with a model inside."""
    _check_runtime(runtime, "torch")
    path = bundle_dir / WEIGHTS_FILE
    try:
        checkpoint = read_checkpoint(path)
    except CheckpointError as error:
        return [_error("file", path, error.what, error.fix)]
    if "model" not in checkpoint:
        return [_error("model", path, "the file holds no entry 'model'", _EXPORT_AGAIN)]
    return []


def lint(bundle_dir: Path, runtime: str | None = None) -> list[Finding]:
    """Look at TorchScript files, which are loaded and not run.

    Args:
      bundle_dir: The directory; ``bundle.json`` is not needed.
      runtime: "torchscript" or "sherpa"; None for all.

    Raises:
      ConfigError: if there is no such runtime.
    """
    _check_runtime(runtime, "torchscript", "sherpa")
    try:
        networks = load_networks(bundle_dir)
    except BundleError as error:
        return [_error("file", Path(error.where or bundle_dir), error.what, error.fix)]
    return [*_encoder(networks["encoder"], bundle_dir), *_symbols(networks, bundle_dir)]


def _encoder(encoder: Any, bundle_dir: Path) -> Iterator[Finding]:
    methods = _METHODS.get(encoder.original_name)
    if methods is None:
        what = f"sherpa's interface for encoders of class {encoder.original_name} is not known"
        fix = f"known classes are {', '.join(_METHODS)}"
        yield _error("class-name", bundle_dir, what, fix)
        return
    for method in methods:
        if not hasattr(encoder, method):
            what = f"the encoder has no method {method}, which sherpa calls"
            yield _error("method", bundle_dir, what, _EXPORT_AGAIN)


def _symbols(networks: dict[str, Any], bundle_dir: Path) -> Iterator[Finding]:
    decoder = networks["decoder"]
    if not hasattr(decoder, "conv"):
        what = "sherpa reads the context size from decoder.conv, which is not there"
        yield _error("context-size", bundle_dir, what, "train with --context-size 2")
    path = bundle_dir / TOKENS_FILE
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
