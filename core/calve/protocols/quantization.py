"""Quantizers and their reports."""

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
    """Inputs and folders of a quantizer.

    Attributes:
      bundle: The bundle to quantize; its files match their hashes.
      options: The scheme's options dataclass instance.
      folder: Temporary folder that becomes the quantized bundle; the symbol table is there.
      scratch: Temporary folder for intermediate files, deleted afterwards.
      progress: Shows progress.
    """

    bundle: OpenedBundle
    options: Any
    folder: Path
    scratch: Path
    progress: Progress


class Quantizer(Protocol):
    """Writes quantized networks; the caller adds the manifest and the golden data."""

    def __call__(self, workspace: QuantizationWorkspace) -> QuantizationReport:
        """Write into ``workspace.folder``.

        Raises:
          CalveError: if the bundle cannot be quantized with these options.
        """


@dataclass(frozen=True)
class LayerReport:
    """Result for one layer with weights.

    Attributes:
      network: The network of the layer.
      layer: Name of the layer in the network.
      type: Type of the layer in the format.
      precision: Precision of its largest weight: "fp32", "fp16", or the scheme's name.
      reason: The reason for this precision.
      parameters: Number of parameters.
      bytes_before: Bytes in the source bundle.
      bytes_after: Bytes in the quantized bundle.
      output_error: Error of the network's output if only this layer is quantized, relative to the
        root mean square of the output; None if it was not measured.
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
    """The distribution of one layer's input and the selected range.

    Attributes:
      absmax: Largest absolute value.
      threshold: Larger values are clipped.
      counts: Histogram of the absolute values without zeros, in equal bins from 0 to ``absmax``.
    """

    network: str
    layer: str
    absmax: float
    threshold: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class CalibrationReport:
    """Source of the activation ranges.

    Attributes:
      source: "recordings", "golden recording", "table" or "none".
      method: Method that selects a threshold; None without calibration.
      recordings: Number of recordings used.
      audio_seconds: Total length of the recordings.
      seconds: Duration of the calibration.
      skipped: Reasons for unused recordings, by path.
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
      size: Bytes of all weights.
      error_rate: Percent; see `QuantizationReport.measure`.
      errors: Substitutions, insertions and deletions.
      reference_words: Number of words, or tokens, in the references.
      empty: Number of recordings with words for which the model returned none.
      rtf: Seconds of decoding per second of audio.
      kept: Layers that the gate excluded from quantization.
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
    """The content of ``quantization.json``.

    Attributes:
      scheme: For example "int8".
      precision: Precision by network.
      layers: Every layer with weights, in file order.
      calibration: Source of the activation ranges.
      activations: Inputs whose range is fixed in the file.
      measure: Meaning of ``error_rate`` in the variants: "WER", or "token error rate against the
        source bundle"; None if nothing was evaluated.
      variants: The evaluated variants, from the source to the result.
      frontier: The attempts of the gate, if any.
      output_error: Relative root-mean-square error of the encoder's output on the golden
        recording, compared with the golden data of the source bundle.
      evaluation_skipped: Reasons for recordings that could not be evaluated, by path.
      notes: Further remarks for the reader.
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
