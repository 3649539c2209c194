from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from calve.bundles.bundle import Bundle
from calve_ncnn.int8.quantize import NetworkFiles
from calve_ncnn.layout import NETWORKS


@pytest.fixture(scope="session")
def demo() -> Iterator[Path]:
    """Short recordings at 16 kHz with a transcripts.txt."""
    with as_file(files("calve_transducer") / "digits" / "recordings") as folder:
        yield folder


@pytest.fixture(scope="session")
def networks(golden_bundle: Bundle) -> list[NetworkFiles]:
    return [NetworkFiles.open(golden_bundle.path, name) for name in NETWORKS]
