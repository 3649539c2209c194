"""How bundles are made smaller."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from calve.bundle import Bundle
    from calve.protocols.progress import Progress
    from calve.quantization import QuantizationReport

__all__ = ["QuantizationWorkspace", "Quantizer"]


@dataclass
class QuantizationWorkspace:
    """What a quantiser works on.

    Attributes:
      bundle: The bundle to quantise; its files are what they were when it was made.
      options: The scheme's options dataclass instance.
      folder: Temporary folder that becomes the quantised bundle; the symbol table is there.
      scratch: Temporary folder for intermediate files, deleted afterwards.
      progress: Draws the bar.
    """

    bundle: Bundle
    options: Any
    folder: Path
    scratch: Path
    progress: Progress


class Quantizer(Protocol):
    """Writes quantised networks; the caller adds the manifest and golden numbers."""

    def __call__(self, workspace: QuantizationWorkspace) -> QuantizationReport:
        """Write into ``workspace.folder``.

        Raises:
          CalveError: if the bundle cannot be quantised so.
        """
