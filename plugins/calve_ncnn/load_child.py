"""Child process that loads the networks of a bundle and runs each once; ncnn may hang or crash.

Reads ``{"folder": str, "networks": {name: {"runs": [[[shape, dtype], ...], ...], "outputs":
[blob, ...]}}}`` from stdin, feeds zeros, and exits with 0 if every run gave finite numbers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from calve.api import CalveError
from calve_ncnn.network import NcnnNetwork

__all__ = ["main"]


def main() -> int:
    """Do what stdin says; the exit code."""
    task = json.load(sys.stdin)
    try:
        for name, network in task["networks"].items():
            runs, outputs = network["runs"], network["outputs"]
            loaded = NcnnNetwork(Path(task["folder"]), name, inputs=len(runs[0]), outputs=outputs)
            for run in runs:
                results = loaded.run(*(np.zeros(shape, dtype) for shape, dtype in run))
                if not all(np.isfinite(result).all() for result in results):
                    print(f"the {name} gives NaN or infinite numbers on zeros", file=sys.stderr)
                    return 1
    except CalveError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
