"""Identification of calve's own distribution.

Any distribution may call itself calve. Ours is the one that provides the files that are running.
"""

from __future__ import annotations

import functools
import importlib.metadata
from pathlib import Path

from calve.registry.requirements import facts_of

__all__ = ["is_calve_itself"]

_PACKAGE = Path(__file__).resolve().parents[1]
_FIRST_FILE = "calve/__init__.py"


@functools.cache
def is_calve_itself(distribution: importlib.metadata.Distribution | None) -> bool:
    """Whether a distribution provides the calve that is running.

    A wheel's distribution lists our files in its ``RECORD``; an editable installation names our
    checkout in ``direct_url.json`` (PEP 610).
    """
    if distribution is None or facts_of(distribution).name != "calve":
        return False
    return _lists_our_files(distribution) or _points_to_our_checkout(distribution)


def _lists_our_files(distribution: importlib.metadata.Distribution) -> bool:
    record = distribution.read_text("RECORD") or ""
    if not any(line.startswith(f"{_FIRST_FILE},") for line in record.splitlines()):
        return False
    return Path(str(distribution.locate_file(_FIRST_FILE))).resolve() == _PACKAGE / "__init__.py"


def _points_to_our_checkout(distribution: importlib.metadata.Distribution) -> bool:
    # Only an editable installation needs these, and start-up should not pay for them.
    import json
    from urllib.parse import unquote, urlsplit

    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable") is not True:
            return False
        folder = Path(unquote(urlsplit(origin["url"]).path)).resolve()
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False
    return folder in _PACKAGE.parents
