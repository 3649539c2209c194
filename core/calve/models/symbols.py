"""The symbol table that belongs to a model."""

from __future__ import annotations

from os import PathLike

from calve.data.tokens import SymbolTable
from calve.errors import TokensError
from calve.models.checkpoints import builtin_checkpoint
from calve.models.loading import LoadedModel

__all__ = ["builtin_symbols", "model_symbols"]


def builtin_symbols(name: str) -> SymbolTable:
    """The symbol table of a checkpoint that comes with calve, with or without ``builtin:``.

    Raises:
      ConfigError: if there is no such checkpoint.
    """
    with builtin_checkpoint(name) as (pretrained, _), pretrained.tokens.as_file() as path:
        return SymbolTable.read(path)


def model_symbols(tokens: str | PathLike[str] | None, loaded: LoadedModel) -> SymbolTable:
    """The symbol table of a model: the file that was given, or that of a builtin checkpoint.

    Raises:
      TokensError: if there is none, or it does not fit the model.
    """
    vocab_size = loaded.config["model"].vocab_size
    if tokens is not None:
        return SymbolTable.read(tokens).for_vocabulary(vocab_size)
    builtin = loaded.checkpoint.provenance.get("builtin")
    if builtin is not None:
        return builtin_symbols(builtin).for_vocabulary(vocab_size)
    raise TokensError(
        "the checkpoint brings no symbol table",
        fix="name the tokens.txt that it was trained with: --tokens FILE",
    )
