from __future__ import annotations

from pathlib import Path
from typing import Any

import kaldifst
import pytest
import sentencepiece

from calve.api import DataError
from calve.data.tokens import SymbolTable
from calve_graphs.lexicon import Lexicon, lexicon_fst, spell_words, word_table
from calve_graphs.preparation import prepare_lang

TEXT = ["ONE TWO THREE", "FOUR FIVE SIX", "SEVEN EIGHT NINE", "ZERO OH ONE ONE TWO"]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the BPE model of a few words and its tokens."""
    folder = tmp_path_factory.mktemp("lang")
    with (folder / "bpe.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXT),
            model_writer=file,
            model_type="bpe",
            vocab_size=30,
            user_defined_symbols=["<blk>", "<sos/eos>"],
            unk_id=2,
            bos_id=-1,
            eos_id=-1,
            minloglevel=2,
        )
    model = open_model(folder)
    SymbolTable(tuple(map(model.id_to_piece, range(len(model))))).write(folder / "tokens.txt")
    return folder


def open_model(folder: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "bpe.model"))


def test_disambiguation_is_icefalls(icefall: dict[str, Any]) -> None:
    lexicon = Lexicon(tuple((word, tuple(pieces)) for word, pieces in icefall["lexicon"]))
    expected = [(word, tuple(pieces)) for word, pieces in icefall["lexicon_disambig"]]
    assert list(lexicon.disambiguated().entries) == expected


def test_disambiguation_symbols_follow_the_tokens(icefall: dict[str, Any], lang_dir: Path) -> None:
    tokens = SymbolTable.read(lang_dir / "tokens.txt")
    lexicon = Lexicon.read(lang_dir / "lexicon.txt")
    for table in (tokens, tokens.for_vocabulary(30)):
        assert lexicon.with_disambiguation(table) == tokens


@pytest.mark.parametrize("disambiguated", [False, True])
def test_fst_says_what_icefalls_says(
    icefall: dict[str, Any], lang_dir: Path, disambiguated: bool
) -> None:
    tokens = SymbolTable.read(lang_dir / "tokens.txt")
    words = SymbolTable.read(lang_dir / "words.txt")
    lexicon = Lexicon.read(lang_dir / "lexicon.txt")
    if disambiguated:
        fst = lexicon_fst(lexicon.disambiguated(), tokens, words)
    else:
        fst = lexicon_fst(lexicon, tokens.for_vocabulary(30), words)
    text = icefall["L_disambig_k2_txt" if disambiguated else "L_k2_txt"]
    expected = [line.split()[2:4] for line in text.splitlines() if len(line.split()) == 5]
    ours = [line.split()[2:4] for line in fst.to_str().splitlines() if len(line.split()) > 2]
    assert sorted(ours) == sorted(pair for pair in expected if pair[0] != "-1")


def test_every_word_spelt_by_the_model_can_be_read_off_the_fst(model_dir: Path) -> None:
    words = word_table(" ".join(TEXT).split())
    lexicon, unspellable = spell_words(open_model(model_dir), words)
    assert not unspellable
    tokens = SymbolTable.read(model_dir / "tokens.txt")
    fst = lexicon_fst(lexicon, tokens, words)
    for word, pieces in lexicon.entries:
        spelling = kaldifst.make_linear_acceptor([tokens.id(piece) for piece in pieces])
        kaldifst.arcsort(fst, sort_type="ilabel")
        found = kaldifst.shortest_path(kaldifst.compose(spelling, fst))
        _, _, said, _ = kaldifst.get_linear_symbol_sequence(found)
        assert [words[index] for index in said] == [word]


def test_word_the_model_has_no_letters_for_is_left_out(model_dir: Path) -> None:
    lexicon, unspellable = spell_words(open_model(model_dir), word_table(["ONE", "ÄQ"]))
    assert unspellable == ["ÄQ"]
    assert [word for word, _ in lexicon.entries] == ["ONE", "<UNK>"]


def test_only_unspellable_words_are_an_error(model_dir: Path) -> None:
    with pytest.raises(DataError, match="none of the 2 words"):
        spell_words(open_model(model_dir), word_table(["ÄQ", "ÖQ"]))


def test_lang_folder_holds_table_lexicons_and_fsts(model_dir: Path) -> None:
    tokens = (model_dir / "tokens.txt").read_bytes()
    assert prepare_lang(model_dir, open_model(model_dir), ["TWO", "ONE", "ÄQ"]) == ["ÄQ"]
    assert SymbolTable.read(model_dir / "words.txt").symbols[4:6] == ("ONE", "TWO")
    assert kaldifst.StdVectorFst.read(str(model_dir / "L.fst")).num_states
    assert kaldifst.StdVectorFst.read(str(model_dir / "L_disambig.fst")).num_states
    assert (model_dir / "tokens.txt").read_bytes() == tokens


def test_tokens_of_another_model_are_an_error(model_dir: Path, tmp_path: Path) -> None:
    SymbolTable(("<blk>", "<sos/eos>", "<unk>", "▁A")).write(tmp_path / "tokens.txt")
    with pytest.raises(DataError, match="is not in the symbol table"):
        prepare_lang(tmp_path, open_model(model_dir), ["ONE"])
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.txt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("ONE ▁O NE\nTWO\n", "line 2"), ("\n", "empty")],
    ids=["word without pieces", "nothing"],
)
def test_malformed_lexicon_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "lexicon.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        Lexicon.read(tmp_path / "lexicon.txt")
