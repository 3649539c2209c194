"""Child process in which lint loads TorchScript files: loading runs their code, and may crash.

Reads ``{"folder": str, "runtime": str | None}`` from stdin, and prints the findings as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from calve_torchscript.lint import lint_loaded

__all__ = ["main"]


def main() -> int:
    """Do what stdin says; the exit code."""
    task = json.load(sys.stdin)
    findings = lint_loaded(Path(task["folder"]), task["runtime"])
    json.dump([asdict(finding) for finding in findings], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
