"""Export formats: export steps, lint findings, metadata, and clients that open bundles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from calve.data.geometry import StreamingGeometry
from calve.errors import ExportError

if TYPE_CHECKING:
    from calve.data.tokens import SymbolTable

__all__ = [
    "ClientResult",
    "ClientTranscribe",
    "ExportStep",
    "ExportWorkspace",
    "Finding",
    "MetadataStore",
]


@dataclass
class ExportWorkspace:
    """Shared state of the export steps: inputs, a private folder, and reports.

    Attributes:
      model: The plain (converted) torch model in eval mode.
      trained: The model as it was trained, with a checkpoint's names and shapes.
      encoder_name: The registered encoder's name.
      config: The resolved configuration, by table ("encoder", "model").
      geometry: The encoder's streaming geometry.
      streaming: Whether the bundle is for streaming; otherwise for whole utterances.
      symbols: The symbol table.
      metadata: Key/value table of the metadata writer for (encoder, format).
      state_names: The client's names for the encoder's states, in order; empty to keep the
        encoder's names.
      options: The format's options dataclass instance.
      folder: Temporary folder that becomes the bundle; steps write their final files here.
      scratch: Temporary folder for intermediate files, deleted afterwards.
      build_export_form: ``(plain encoder) -> export form``, which graph formats compile.
      report: Results by name of the step; stored in ``bundle.json``. One step must set
        "precision", the precision of the weights ("fp32", "fp16" or "int8") by network; "tools" may
        contain versions of the packages that were used.
    """

    model: Any
    trained: Any
    encoder_name: str
    config: dict[str, dict[str, Any]]
    geometry: StreamingGeometry
    streaming: bool
    symbols: SymbolTable
    metadata: dict[str, int | str]
    state_names: tuple[str, ...]
    options: Any
    folder: Path
    scratch: Path
    build_export_form: Callable[[Any], Any]
    report: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def export_form(self) -> Any:
        """The export form of ``model.encoder``, with the state layout of the format's runtime.

        Formats that write a graph compile it instead of ``model.encoder``.

        Raises:
          ConfigError: if the encoder cannot stream.
        """
        return self.build_export_form(self.model.encoder)

    def report_findings(self, findings: Sequence[Finding]) -> None:
        """Report the lint warnings for the written networks as the step "lint".

        Raises:
          ExportError: if there are errors; the message lists them.
        """
        errors = [one.line for one in findings if one.severity == "error"]
        if errors:
            listed = "\n".join(f"    {line}" for line in errors)
            raise ExportError(f"the exported networks are not sound:\n{listed}")
        self.report["lint"] = [one.line for one in findings]


class ExportStep(Protocol):
    """One step of an exporter; raises `ExportError` if it fails."""

    def __call__(self, workspace: ExportWorkspace) -> None: ...


@dataclass(frozen=True)
class Finding:
    """One finding of lint.

    Attributes:
      severity: "error" (the runtime will crash or print garbage) or "warning".
      code: Stable short name, for example "layer-count".
      where: File, and line if known.
      what: The problem.
      fix: The remedy.
    """

    severity: str
    code: str
    where: str
    what: str
    fix: str

    @property
    def line(self) -> str:
        """Code, problem and remedy in one line."""
        return f"{self.code}: {self.what} ({self.fix})"


class MetadataStore(Protocol):
    """Reads and writes the metadata that a format's client needs.

    It also works on models that calve did not export, which have no ``bundle.json``.
    """

    def recognizes(self, bundle_dir: Path) -> bool:
        """Whether the directory contains a model of this format."""

    def infer(self, bundle_dir: Path) -> dict[str, int | str] | None:
        """The table that follows from the model's own files; None if they are not sufficient."""

    def read(self, bundle_dir: Path) -> dict[str, int | str] | None:
        """The stamped table, or None."""

    def write(self, bundle_dir: Path, table: Mapping[str, int | str]) -> None:
        """Write the table in place of any other; the file is replaced atomically."""


@dataclass(frozen=True)
class ClientResult:
    """Result of a client for one recording.

    Attributes:
      path: The recording, as given by the caller.
      text: The recognized words.
      duration: Length of the recording in seconds.
      decode_seconds: Wall time of decoding, without loading the model.
      load_seconds: Wall time until the client was ready, the same for all results of one call.
    """

    path: str
    text: str
    duration: float
    decode_seconds: float
    load_seconds: float = 0.0


class ClientTranscribe(Protocol):
    """Runs a client in a child process, so that a crash of the client becomes an error message."""

    def __call__(
        self, bundle_dir: Path, paths: Sequence[Path], *, num_threads: int, tail_seconds: float
    ) -> list[ClientResult]:
        """Transcribe recordings with greedy search.

        Args:
          bundle_dir: The bundle.
          paths: Recordings, of any sampling rate and channel count.
          num_threads: CPU threads.
          tail_seconds: Seconds of silence appended to each recording.

        Returns:
          One result for each recording, in order.

        Raises:
          PluginError: if the client is not installed.
          BundleError: if the client crashes, hangs or fails on the bundle.
          AudioError: if a recording cannot be read.
        """
