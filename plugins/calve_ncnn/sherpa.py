"""Runs the real sherpa-ncnn in a child process, so that its crash becomes a message."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from calve.api import BundleError, PluginError
from calve.children import Child, run_children
from calve.protocols import ClientResult

__all__ = ["sherpa_version", "transcribe"]

_BASE_TIME_LIMIT = 120.0
_MAX_RTF = 20.0
"""How many times slower than speech sherpa-ncnn may be before it counts as hanging."""


def sherpa_version() -> str | None:
    """Version of the installed sherpa-ncnn, None if it is not installed."""
    try:
        return version("sherpa-ncnn")
    except PackageNotFoundError:
        return None


def transcribe(
    bundle_dir: Path, paths: Sequence[Path], *, num_threads: int = 1, tail_seconds: float = 0.0
) -> list[ClientResult]:
    """Transcribe recordings with `sherpa_ncnn.Recognizer` and greedy search.

    Args:
      bundle_dir: The bundle, or any directory with icefall's file names.
      paths: Recordings; read and resampled as `calve transcribe` does.
      num_threads: CPU threads.
      tail_seconds: Seconds of silence appended to each recording.

    Raises:
      PluginError: if sherpa-ncnn is not installed.
      BundleError: if it crashes, hangs or fails on the bundle.
      AudioError: if a recording cannot be read.
    """
    if importlib.util.find_spec("sherpa_ncnn") is None:
        raise PluginError("sherpa-ncnn is not installed", fix="pip install 'calve[sherpa-ncnn]'")
    # Unreadable recordings are the caller's mistake, to be named before the child starts.
    from calve.audio import read_audio

    seconds = sum(read_audio(path).duration + tail_seconds for path in paths)
    task = {
        "bundle": str(bundle_dir.resolve()),
        "paths": [str(path.resolve()) for path in paths],
        "num_threads": num_threads,
        "tail_seconds": tail_seconds,
    }
    with tempfile.TemporaryDirectory(prefix="calve-sherpa-") as folder:
        child = Child(
            name="sherpa-ncnn",
            command=[sys.executable, "-m", "calve_ncnn.sherpa_child"],
            folder=Path(folder),
            time_limit=_BASE_TIME_LIMIT + _MAX_RTF * seconds,
            input=json.dumps(task),
            keep_stdout=True,
        )
        (outcome,) = run_children([child])
    if outcome.failure:
        raise BundleError(
            f"sherpa-ncnn {sherpa_version()} {outcome.failure}; the end of its log:\n"
            f"{outcome.tail}",
            where=bundle_dir,
            fix="run `calve lint --runtime sherpa-ncnn` on the bundle",
        )
    results = [json.loads(line) for line in outcome.stdout.splitlines()]
    return [
        ClientResult(path=str(path), **result) for path, result in zip(paths, results, strict=True)
    ]
