"""How bundles are made smaller, and what is said of that."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from calve.common.progress import Progress
    from calve.protocols.bundles import OpenedBundle

__all__ = [
    "ActivationReport",
    "CalibrationReport",
    "LayerReport",
    "QuantizationReport",
    "QuantizationWorkspace",
    "Quantizer",
    "VariantReport",
]


@dataclass
class QuantizationWorkspace:
    """What a quantizer works on.

    Attributes:
      bundle: The bundle to quantize; its files are what they were when it was made.
      options: The scheme's options dataclass instance.
      folder: Temporary folder that becomes the quantized bundle; the symbol table is there.
      scratch: Temporary folder for intermediate files, deleted afterwards.
      progress: Draws the bar.
    """

    bundle: OpenedBundle
    options: Any
    folder: Path
    scratch: Path
    progress: Progress


class Quantizer(Protocol):
    """Writes quantized networks; the caller adds the manifest and golden numbers."""

    def __call__(self, workspace: QuantizationWorkspace) -> QuantizationReport:
        """Write into ``workspace.folder``.

        Raises:
          CalveError: if the bundle cannot be quantized so.
        """


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer that has weights.

    Attributes:
      network: Network that it belongs to.
      layer: Its name there.
      type: Its type, as the format calls it.
      precision: Of its largest weight: "fp32", "fp16", or the scheme's name.
      reason: Why it has this precision.
      parameters: Numbers that it holds.
      bytes_before: Bytes in the source bundle.
      bytes_after: Bytes in the quantized one.
      output_error: Error of its network's output when only this layer is quantized, relative to
        the output's root mean square; None if it was not measured.
    """

    network: str
    layer: str
    type: str
    precision: str
    reason: str
    parameters: int
    bytes_before: int
    bytes_after: int
    output_error: float | None = None


@dataclass(frozen=True)
class ActivationReport:
    """The distribution of one layer's input and the range that was chosen for it.

    Attributes:
      absmax: Largest absolute value seen.
      threshold: Values beyond it are clipped.
      counts: Histogram of the absolute values, zeros left out, equal bins from 0 to ``absmax``.
    """

    network: str
    layer: str
    absmax: float
    threshold: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class CalibrationReport:
    """What the activation ranges were measured on.

    Attributes:
      source: "recordings", "golden recording", "table" or "none".
      method: How a threshold is chosen from a distribution; None without calibration.
      recordings: How many were used.
      audio_seconds: How long they are together.
      seconds: How long it took.
      skipped: Why a recording was not used, by its path.
    """

    source: str
    method: str | None = None
    recordings: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class VariantReport:
    """One variant of the model on the evaluation recordings.

    Attributes:
      name: For example "fp32", "int8", "int8, 2 in fp16".
      size: Bytes of all its weights.
      error_rate: Percent; see `QuantizationReport.measure`.
      errors: Substitutions, insertions and deletions.
      reference_words: Words, or tokens, in the references.
      empty: Recordings with words in which it found none.
      rtf: Seconds of decoding per second of audio.
      kept: Layers held back from quantization by the gate.
    """

    name: str
    size: int
    error_rate: float | None
    errors: int
    reference_words: int
    empty: tuple[str, ...]
    rtf: float
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class QuantizationReport:
    """Everything that ``quantization.json`` says.

    Attributes:
      scheme: For example "int8".
      precision: By network.
      layers: Every layer that has weights, in file order.
      calibration: What the activation ranges come from.
      activations: Inputs whose range is fixed in the file.
      measure: What ``error_rate`` in the variants is: "WER", or "token error rate against the
        source bundle"; None if nothing was evaluated.
      variants: The source, and the result at last.
      frontier: What the gate tried, if it had to.
      output_error: Relative root-mean-square error of the encoder's output on the golden
        recording, against the numbers that the source bundle keeps.
      evaluation_skipped: Why a recording could not be evaluated, by its path.
      notes: What a reader should know besides.
    """

    scheme: str
    precision: dict[str, str]
    layers: tuple[LayerReport, ...]
    calibration: CalibrationReport
    activations: tuple[ActivationReport, ...] = ()
    measure: str | None = None
    variants: tuple[VariantReport, ...] = ()
    frontier: tuple[VariantReport, ...] = ()
    output_error: float | None = None
    evaluation_skipped: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All attributes by name."""
        return asdict(self)
