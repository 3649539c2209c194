"""The releases of pnnx and ncnn that were tested together."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

from calve.common.diagnosis import Diagnosis

__all__ = ["TESTED_PAIRS", "diagnose"]

TESTED_PAIRS = (
    ("20261020", "1.0.20261020"),
    ("20260526", "1.0.20260526"),
    ("20260112", "1.0.20260114"),
    ("20251119", "1.0.20250916"),
)
"""pnnx and ncnn with which the main job is tested, the newest first (``make compat``)."""


def diagnose() -> Iterator[Diagnosis]:
    """Whether the installed pair is one of `TESTED_PAIRS`; nothing of it is imported."""
    newest_pnnx, newest_ncnn = TESTED_PAIRS[0]
    fix = f"pip install pnnx=={newest_pnnx} ncnn=={newest_ncnn}"
    try:
        pair = importlib.metadata.version("pnnx"), importlib.metadata.version("ncnn")
    except importlib.metadata.PackageNotFoundError as error:
        yield Diagnosis("pnnx and ncnn", "missing", f"{error.name} is not installed", fix)
        return
    shown = f"pnnx {pair[0]} with ncnn {pair[1]}"
    if pair in TESTED_PAIRS:
        yield Diagnosis("pnnx and ncnn", "ok", f"{shown}, a tested pair")
    else:
        yield Diagnosis("pnnx and ncnn", "warn", f"{shown}, which were not tested together", fix)
