"""Results of decoding a part of a corpus."""

from __future__ import annotations

from dataclasses import dataclass

from calve.decoding.decoded import Decoded
from calve.scoring.result_files import ResultFiles

__all__ = ["DecodingResult"]


@dataclass(frozen=True)
class DecodingResult:
    """Result of one method on a split.

    Attributes:
      split: Name of the split.
      runtime: What ran the networks.
      mode: The streaming mode.
      model: Name of the checkpoint.
      method: `DecodingMethod.key`.
      decoded: The texts.
      files: The files of the results; None if none were written.
      resumed: Whether the results existed already.
    """

    split: str
    runtime: str
    mode: str
    model: str
    method: str
    decoded: Decoded
    files: ResultFiles | None = None
    resumed: bool = False
