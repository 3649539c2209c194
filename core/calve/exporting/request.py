"""The request for an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calve.models.checkpoints import CheckpointChoice

__all__ = ["ExportRequest"]


@dataclass(frozen=True)
class ExportRequest:
    """The request for one export: checkpoint, format and output.

    Attributes:
      recipe: Name of the recipe that the checkpoint was trained with.
      checkpoint: A file, "builtin:NAME", or a choice of checkpoints to average.
      output: Directory to create.
      format: Name of the export format.
      tokens: The model's tokens.txt; None to use that of a builtin checkpoint.
      overwrite: Whether to replace ``output`` if it exists.
      streaming: Whether the bundle streams; False for whole utterances. None means that it streams
        if the encoder can.
      strict: Whether to reject a chunk or a context that the model was not trained for.
      overrides: Configuration by table ("encoder", "model") that the checkpoint leaves open.
      options: Options of the format, as ``calve export --help`` lists them.
    """

    recipe: str
    checkpoint: str | PathLike[str] | CheckpointChoice
    output: str | PathLike[str]
    format: str
    tokens: str | PathLike[str] | None = None
    overwrite: bool = False
    streaming: bool | None = None
    strict: bool = False
    overrides: Mapping[str, Mapping[str, Any]] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
