"""Runs the real sherpa-onnx in a child process, so that its crash becomes a message."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from calve.api import BundleError, PluginError
from calve.audio import read_audio
from calve.bundle import TOKENS_FILE
from calve.children import Child, run_children
from calve.protocols import ClientResult
from calve_onnx.layout import NETWORKS, find_network

__all__ = ["sherpa_version", "transcribe"]

_BASE_TIME_LIMIT = 120.0
_MAX_RTF = 20.0
"""How many times slower than speech sherpa-onnx may be before it counts as hanging."""


def sherpa_version() -> str | None:
    """Version of the installed sherpa-onnx, None if it is not installed."""
    try:
        return version("sherpa-onnx")
    except PackageNotFoundError:
        return None


def transcribe(
    bundle_dir: Path, paths: Sequence[Path], *, num_threads: int = 1, tail_seconds: float = 0.0
) -> list[ClientResult]:
    """Transcribe recordings with `sherpa_onnx.OnlineRecognizer` and greedy search.

    Args:
      bundle_dir: The bundle, or any directory with icefall's file names.
      paths: Recordings; read and resampled as `calve transcribe` does.
      num_threads: CPU threads.
      tail_seconds: Seconds of silence appended to each recording.

    Raises:
      PluginError: if sherpa-onnx is not installed.
      BundleError: if a network is missing, or sherpa-onnx crashes, hangs or fails on the bundle.
      AudioError: if a recording cannot be read.
    """
    if importlib.util.find_spec("sherpa_onnx") is None:
        raise PluginError("sherpa-onnx is not installed", fix="pip install 'calve[sherpa-onnx]'")
    # Unreadable recordings are the caller's mistake, to be named before the child starts.
    seconds = sum(read_audio(path).duration + tail_seconds for path in paths)
    task = {
        "networks": {name: str(find_network(bundle_dir, name).resolve()) for name in NETWORKS},
        "tokens": str((bundle_dir / TOKENS_FILE).resolve()),
        "paths": [str(path.resolve()) for path in paths],
        "num_threads": num_threads,
        "tail_seconds": tail_seconds,
    }
    with tempfile.TemporaryDirectory(prefix="calve-sherpa-") as folder:
        child = Child(
            name="sherpa-onnx",
            command=[sys.executable, "-m", "calve_onnx.sherpa_child"],
            folder=Path(folder),
            time_limit=_BASE_TIME_LIMIT + _MAX_RTF * seconds,
            input=json.dumps(task),
            keep_stdout=True,
        )
        (outcome,) = run_children([child])
    results = [json.loads(line) for line in outcome.stdout.splitlines()]
    # On a model that it does not like, sherpa-onnx ends the process, even with exit code 0.
    failure = outcome.failure or ("stopped early" if len(results) < len(paths) else None)
    if failure:
        raise BundleError(
            f"sherpa-onnx {sherpa_version()} {failure}; the end of its log:\n{outcome.tail}",
            where=bundle_dir,
            fix="run `calve lint --runtime sherpa-onnx` on the bundle",
        )
    return [
        ClientResult(path=str(path), **result) for path, result in zip(paths, results, strict=True)
    ]
