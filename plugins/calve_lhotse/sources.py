"""What a manifest may name as the source of audio or features.

lhotse gives a source of type "command" to a shell, and fetches a URL. Manifests that were imported
from Kaldi have such sources, and so may any manifest from elsewhere. They are refused before lhotse
sees them, unless whoever runs calve allows them.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lhotse.serialization import deserialize_item

from calve.api import DataError
from calve.common.inputs import parse_json
from calve.common.printable import one_line, shortened

__all__ = ["ALLOW_COMMANDS", "check_sources", "checked_items"]

ALLOW_COMMANDS = "CALVE_ALLOW_COMMANDS"
"""Set to 1, this environment variable does what ``--allow-commands`` does, in every command."""

_PATHS = ("source", "storage_path", "path")
_TYPES = ("command", "url")
_READERS = {
    *("calve-tar", "shar", "lilcom_chunky", "lilcom_files", "numpy_files"),
    *("numpy_hdf5", "lilcom_hdf5", "chunked_lilcom_hdf5"),
    *("memory_lilcom", "memory_raw", "memory_npy", "memory_writer"),
}
_FETCHED = re.compile(r"pipe:|[A-Za-z][A-Za-z0-9+.-]*://|.*\|\s*$", re.DOTALL)


def check_sources(entry: object, where: str, *, allow: bool = False) -> None:
    """Refuse an entry of a manifest for which lhotse would run a command or fetch something.

    Args:
      entry: The entry as JSON has it, with everything that is in it: recordings of transforms and
        of custom fields too.
      where: The file and the line.
      allow: Whether the user has allowed such sources.

    Raises:
      DataError: naming the source.
    """
    if allow or os.environ.get(ALLOW_COMMANDS) == "1":
        return
    for one in _objects(entry):
        source = _acting(one)
        if source is not None:
            raise DataError(
                f"a source runs a command or fetches something: {one_line(shortened(source))}",
                where=where,
                fix="if you trust whoever wrote this file, give --allow-commands to `calve "
                f"prepare` and `calve train`, or set {ALLOW_COMMANDS}=1",
            )


def checked_items(path: Path, *, allow: bool = False) -> Iterator[Any]:
    """lhotse's objects out of the lines of a manifest, each after `check_sources`.

    Raises:
      DataError: for a source that acts.
      Exception: of lhotse, of the system or of the readers of JSON, if the file is damaged.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            entry = parse_json(line)
            check_sources(entry, f"{path}, line {number}", allow=allow)
            yield deserialize_item(entry)


def _acting(entry: Mapping[str, Any]) -> Any:
    """The source of this one object that is more than data, if there is one."""
    if "source" in entry and str(entry.get("type")) in _TYPES:
        return entry["source"]
    if str(entry.get("storage_type", "shar")) not in _READERS:
        return f"{entry['storage_type']}: {entry.get('storage_path')}"
    for name in _PATHS:
        if isinstance(entry.get(name), str) and _FETCHED.match(entry[name]):
            return entry[name]
    return None


def _objects(entry: object) -> Iterator[Mapping[str, Any]]:
    waiting = [entry]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
