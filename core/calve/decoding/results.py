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
      mode: How they saw the audio.
      model: Name of the checkpoint.
      method: `DecodingMethod.key`.
      decoded: The texts.
      files: Where they were written; None if they were not.
      resumed: Whether they were there already.
    """

    split: str
    runtime: str
    mode: str
    model: str
    method: str
    decoded: Decoded
    files: ResultFiles | None = None
    resumed: bool = False
