from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calve.api import DataError
from calve.data.tokens import SymbolTable
from calve_lhotse.fsdd.options import FsddOptions
from calve_lhotse.fsdd.plans import random_digits
from calve_lhotse.fsdd.recordings import WORDS
from calve_lhotse.subwords import load_subwords, train_subwords

GENERATOR = np.random.default_rng(0)
TRANSCRIPTS = [random_digits(GENERATOR) for _ in range(500)]


def test_special_symbols_have_the_ids_of_icefall(tmp_path: Path) -> None:
    assert train_subwords(TRANSCRIPTS, tmp_path, 48) == 48
    symbols = SymbolTable.read(tmp_path / "tokens.txt")
    assert symbols.symbols[:3] == ("<blk>", "<sos/eos>", "<unk>")
    assert len(symbols) == 48


def test_the_table_spells_what_the_model_encodes(tmp_path: Path) -> None:
    train_subwords(TRANSCRIPTS, tmp_path, 40)
    symbols, subwords = (
        SymbolTable.read(tmp_path / "tokens.txt"),
        load_subwords(tmp_path / "bpe.model"),
    )
    for text in TRANSCRIPTS[:20]:
        ids = subwords.encode(text)
        assert min(ids) > 2
        assert symbols.text(ids) == text


def test_with_the_default_size_each_digit_is_one_symbol(tmp_path: Path) -> None:
    default = FsddOptions(root=tmp_path).vocab_size
    train_subwords(TRANSCRIPTS, tmp_path, default)
    subwords = load_subwords(tmp_path / "bpe.model")
    assert [subwords.encode(word, out_type=str) for word in WORDS] == [[f"▁{w}"] for w in WORDS]


@pytest.mark.parametrize(("vocab_size", "reason"), [(5000, "too high"), (5, "small")])
def test_an_impossible_vocabulary_size_is_an_error_saying_why(
    tmp_path: Path, vocab_size: int, reason: str
) -> None:
    with pytest.raises(DataError, match=f"(?i){reason}") as caught:
        train_subwords(TRANSCRIPTS, tmp_path, vocab_size)
    assert "--vocab-size" in str(caught.value.fix)
    assert ".cc(" not in caught.value.what


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such sentencepiece model"),
        (b"", "this file is empty"),
        (b"not a model", "cannot read the sentencepiece model"),
    ],
)
def test_a_missing_or_damaged_model_is_an_error_naming_it(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "bpe.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        load_subwords(path)
    assert caught.value.where == str(path)
