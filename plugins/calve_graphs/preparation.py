"""Entry points for the preparation of corpora: write the files of a lang directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from calve.common.files import atomic_file
from calve.data.tokens import SymbolTable
from calve_graphs.compilation import compile_lg
from calve_graphs.grammar import grammar_fst, grammar_text
from calve_graphs.graph import DecodingGraph
from calve_graphs.lexicon import Lexicon, lexicon_fst, spell_words, word_table

__all__ = ["GRAMMAR_NAME", "GRAPH_NAME", "LEXICON_NAME", "prepare_graph", "prepare_lang"]

TOKENS_NAME = "tokens.txt"
WORDS_NAME = "words.txt"
LEXICON_NAME = "lexicon.txt"
GRAMMAR_NAME = "G.fst.txt"
GRAPH_NAME = "LG.npz"


def prepare_lang(folder: Path, model: Any, words: Iterable[str]) -> list[str]:
    """Write the word table and the lexicon.

    The files are ``words.txt``, ``lexicon.txt`` and ``L.fst``, and with disambiguation symbols
    ``lexicon_disambig.txt`` and ``L_disambig.fst``.

    Args:
      folder: Directory with the ``tokens.txt`` of the BPE model, which is not changed.
      model: The BPE model, a ``sentencepiece.SentencePieceProcessor``.
      words: The words of the lexicon, in any order.

    Returns:
      Words that were omitted because the model lacks one of their letters.

    Raises:
      DataError: if no word can be spelled, or ``tokens.txt`` is not that of the model.
      TokensError: if ``tokens.txt`` cannot be read, or a word contains white space.
    """
    tokens = SymbolTable.read(folder / TOKENS_NAME)
    table = word_table(words)
    lexicon, unspellable = spell_words(model, table)
    disambiguated = lexicon.disambiguated()
    plain_fst = lexicon_fst(lexicon, tokens, table)
    disambiguated_fst = lexicon_fst(disambiguated, lexicon.with_disambiguation(tokens), table)
    table.write(folder / WORDS_NAME)
    lexicon.write(folder / LEXICON_NAME)
    disambiguated.write(folder / "lexicon_disambig.txt")
    _write_fst(plain_fst, folder / "L.fst")
    _write_fst(disambiguated_fst, folder / "L_disambig.fst")
    return unspellable


def prepare_graph(folder: Path, arpa: Path, *, max_order: int = -1) -> DecodingGraph:
    """Compile G and LG into ``G.fst.txt`` and ``LG.npz``.

    Args:
      folder: A directory that `prepare_lang` has filled.
      arpa: An n-gram language model over its words.
      max_order: Longer n-grams are omitted; -1 for no limit.

    Raises:
      DataError: if a file is missing or malformed, or no sentence is left.
      TokensError: if ``tokens.txt`` or ``words.txt`` cannot be read.
    """
    words = SymbolTable.read(folder / WORDS_NAME)
    lexicon = Lexicon.read(folder / LEXICON_NAME)
    tokens = lexicon.with_disambiguation(SymbolTable.read(folder / TOKENS_NAME))
    grammar = grammar_text(arpa, words, max_order=max_order)
    graph = compile_lg(
        lexicon_fst(lexicon.disambiguated(), tokens, words), grammar_fst(grammar), tokens, words
    )
    with atomic_file(folder / GRAMMAR_NAME) as temporary:
        temporary.write_text(grammar, encoding="utf-8")
    graph.write(folder / GRAPH_NAME)
    return graph


def _write_fst(fst: Any, path: Path) -> None:
    with atomic_file(path) as temporary:
        fst.write(str(temporary))
