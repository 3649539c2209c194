"""sentencepiece models with icefall's special symbols."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from calve.api import DataError
from calve.common.inputs import check_input
from calve.data.tokens import SymbolTable

__all__ = ["MODEL_NAME", "TOKENS_NAME", "load_subwords", "train_subwords"]

MODEL_NAME = "bpe.model"
TOKENS_NAME = "tokens.txt"

# icefall's ids: 0 blank, 1 sentence boundary, 2 unknown.
_USER_SYMBOLS = ["<blk>", "<sos/eos>"]


def train_subwords(transcripts: Sequence[str], folder: Path, vocab_size: int) -> int:
    """Train byte-pair encoding; write ``bpe.model`` and ``tokens.txt`` into ``folder``.

    Returns:
      The number of symbols.

    Raises:
      DataError: if the transcripts cannot fill a vocabulary of this size, or need a larger one.
    """
    model = folder / MODEL_NAME
    try:
        with model.open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(transcripts),
                model_writer=file,
                model_type="bpe",
                vocab_size=vocab_size,
                character_coverage=1.0,
                user_defined_symbols=_USER_SYMBOLS,
                unk_id=len(_USER_SYMBOLS),
                bos_id=-1,
                eos_id=-1,
                minloglevel=2,
            )
    except RuntimeError as error:
        # sentencepiece begins with its own source line and condition, in brackets.
        reason = str(error).rsplit("] ", 1)[-1].strip()
        raise DataError(
            f"cannot train {vocab_size} symbols on {len(transcripts)} transcripts: {reason}",
            fix="choose another --vocab-size",
        ) from error
    subwords = load_subwords(model)
    symbols = [subwords.id_to_piece(index) for index in range(len(subwords))]
    SymbolTable(tuple(symbols)).write(folder / TOKENS_NAME)
    return len(symbols)


def load_subwords(model: Path) -> sentencepiece.SentencePieceProcessor:
    """Open a ``bpe.model``.

    Raises:
      DataError: if it is missing or damaged.
    """
    check_input(model, "sentencepiece model", DataError)
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(model))
    except (OSError, RuntimeError) as error:
        raise DataError(
            "cannot read the sentencepiece model", where=model, fix="prepare the corpus again"
        ) from error
