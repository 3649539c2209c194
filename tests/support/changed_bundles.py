"""Bundles whose files were changed on purpose."""

from __future__ import annotations

import json
from pathlib import Path

from calve.bundles.bundle import record_files

__all__ = ["accept_changes"]


def accept_changes(bundle_dir: Path) -> None:
    """Make the manifest agree with files that were changed."""
    manifest = json.loads((bundle_dir / "bundle.json").read_text())
    manifest["files"] = {
        name: {"sha256": record.sha256, "size": record.size}
        for name, record in record_files(bundle_dir).items()
    }
    (bundle_dir / "bundle.json").write_text(json.dumps(manifest))
