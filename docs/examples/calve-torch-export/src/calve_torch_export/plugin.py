"""What this package adds to calve; imported by every command, so it imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from calve.api import ConfigError, ExporterSpec, ExportStepSpec, LazyRef, hookimpl
from calve.protocols import Finding

NETWORKS = ("encoder", "decoder", "joiner")


@dataclass(frozen=True)
class TorchExportOptions:
    """The format has no options of its own."""


@hookimpl
def calve_register_exporters() -> Iterator[ExporterSpec]:
    """The format ``torch-export``, for calve's own encoders, which have never heard of it."""
    yield ExporterSpec(
        format="torch-export",
        summary="programs of torch.export in three .pt2 files",
        options=LazyRef("calve_torch_export.plugin:TorchExportOptions"),
        steps=(
            ExportStepSpec(
                "capture",
                "capture encoder, decoder and joiner",
                LazyRef("calve_torch_export.steps:capture"),
            ),
        ),
        runtime="torch-export",
        lint=LazyRef("calve_torch_export.plugin:lint"),
        metadata=None,
        encoders=("lstm", "conformer", "plain_conformer"),
    )


def lint(bundle_dir: Path, runtime: str | None = None) -> list[Finding]:
    """See that the three programs and the symbols are there."""
    if runtime not in (None, "torch-export"):
        raise ConfigError(f"these bundles have no runtime {runtime!r}", fix="give torch-export")
    files = ["tokens.txt", *(f"{network}.pt2" for network in NETWORKS)]
    return [
        Finding("error", "file", str(path), "the file is missing or empty", "export it again")
        for path in (bundle_dir / file for file in files)
        if not path.is_file() or path.stat().st_size == 0
    ]
