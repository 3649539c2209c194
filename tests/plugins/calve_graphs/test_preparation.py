"""The whole way to LG, against what icefall and k2 make of the same lexicon and ARPA file."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calve.api import DataError
from calve.data.tokens import SymbolTable
from calve_graphs.graph import DecodingGraph, tokens_fingerprint
from calve_graphs.preparation import prepare_graph

Arc = tuple[int, tuple[int, ...], float]


def arcs(graph: DecodingGraph) -> list[tuple[int, int, Arc]]:
    """(source, destination, (label, words, score)) of every arc."""
    found = []
    for source, (begin, end) in enumerate(pairwise(graph.arc_splits)):
        for arc in range(begin, end):
            words = tuple(graph.word_ids[slice(*graph.word_splits[arc : arc + 2])].tolist())
            weighted = (int(graph.label[arc]), words, float(graph.score[arc]))
            found.append((source, int(graph.destination[arc]), weighted))
    return found


def icefall_arcs(icefall: dict[str, Any]) -> list[tuple[int, int, Arc]]:
    columns = zip(
        icefall["LG_arcs"].tolist(), icefall["LG_aux_labels"], icefall["LG_scores"], strict=True
    )
    return [(a, b, (label, tuple(words), float(s))) for (a, b, label), words, s in columns]


def rounded(weighted: Arc) -> Arc:
    return weighted[0], weighted[1], round(weighted[2], 3)


def paths(found: list[tuple[int, int, Arc]], labels: list[int]) -> list[tuple[int, ...]]:
    """Words and score of every way through a graph that spells ``labels``, best first."""
    ends: dict[int, list[tuple[float, tuple[int, ...]]]] = {0: [(0.0, ())]}
    for label in [*labels, -1]:
        following: dict[int, list[tuple[float, tuple[int, ...]]]] = {}
        for source, destination, (arc_label, words, score) in found:
            if arc_label == label:
                for so_far, said in ends.get(source, ()):
                    following.setdefault(destination, []).append((so_far + score, said + words))
        ends = following
    return sorted((item for items in ends.values() for item in items), reverse=True)


def random_spelling(found: list[tuple[int, int, Arc]], choose: random.Random) -> list[int]:
    state, labels = 0, []
    while True:
        _, state, (label, _, _) = choose.choice([arc for arc in found if arc[0] == state])
        if label == -1:
            return labels
        labels.append(label)


def test_has_the_arcs_of_icefalls_graph(icefall: dict[str, Any], lang_dir: Path) -> None:
    ours, theirs = arcs(prepare_graph(lang_dir, lang_dir / "3-gram.arpa")), icefall_arcs(icefall)
    assert sorted(rounded(arc[2]) for arc in ours) == sorted(rounded(arc[2]) for arc in theirs)


def test_gives_sentences_the_words_and_scores_of_icefalls_graph(
    icefall: dict[str, Any], lang_dir: Path
) -> None:
    ours, theirs = arcs(prepare_graph(lang_dir, lang_dir / "3-gram.arpa")), icefall_arcs(icefall)
    choose = random.Random(0)
    spellings = [random_spelling(theirs, choose) for _ in range(100)]
    for labels in [spelling for spelling in spellings if len(spelling) <= 10]:
        expected, found = paths(theirs, labels), paths(ours, labels)
        assert sorted(words for _, words in found) == sorted(words for _, words in expected)
        np.testing.assert_allclose([s for s, _ in found], [s for s, _ in expected], atol=1e-4)


def test_grammar_is_that_of_icefall(icefall: dict[str, Any], lang_dir: Path) -> None:
    prepare_graph(lang_dir, lang_dir / "3-gram.arpa")
    assert (lang_dir / "G.fst.txt").read_text().split() == icefall["G_openfst_txt"].split()


def test_lower_order_leaves_longer_ngrams_out(lang_dir: Path) -> None:
    whole = prepare_graph(lang_dir, lang_dir / "3-gram.arpa")
    unigrams = prepare_graph(lang_dir, lang_dir / "3-gram.arpa", max_order=1)
    assert unigrams.num_arcs < whole.num_arcs


def test_graph_is_read_back_as_it_was_written(lang_dir: Path) -> None:
    written = prepare_graph(lang_dir, lang_dir / "3-gram.arpa")
    read = DecodingGraph.read(lang_dir / "LG.npz")
    assert arcs(read) == arcs(written)
    assert read.words == written.words
    assert read.fingerprint == written.fingerprint


def test_graph_fits_its_tokens_with_and_without_disambiguation_symbols(lang_dir: Path) -> None:
    graph = prepare_graph(lang_dir, lang_dir / "3-gram.arpa")
    tokens = SymbolTable.read(lang_dir / "tokens.txt")
    graph.check_tokens(tokens)
    graph.check_tokens(tokens.for_vocabulary(30))
    assert graph.fingerprint == tokens_fingerprint(tokens)


def test_graph_of_other_tokens_is_refused(lang_dir: Path) -> None:
    graph = prepare_graph(lang_dir, lang_dir / "3-gram.arpa")
    symbols = SymbolTable.read(lang_dir / "tokens.txt").for_vocabulary(30).symbols
    swapped = SymbolTable((*symbols[:-2], symbols[-1], symbols[-2]))
    with pytest.raises(DataError, match="another token table"):
        graph.check_tokens(swapped)
    with pytest.raises(DataError, match="the model scores 5 tokens"):
        graph.check_vocabulary(5)


def test_damaged_graph_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist[\s\S]*LG\.npz"):
        DecodingGraph.read(tmp_path / "LG.npz")
    for content in (b"", b"PK\x03\x04 no graph", b"\\data\\\nngram 1=3\n"):
        (tmp_path / "LG.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"no decoding graph, or it is damaged[\s\S]*LG\.npz"):
            DecodingGraph.read(tmp_path / "LG.npz")
    np.savez(tmp_path / "LG.npz", format=np.int64(1))
    with pytest.raises(DataError, match="no decoding graph"):
        DecodingGraph.read(tmp_path / "LG.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(DataError, match="no decoding graph"):
        DecodingGraph.read(tmp_path / "array.npy")
    np.savez(tmp_path / "LG.npz", format=np.int64(99))
    with pytest.raises(DataError, match="another version"):
        DecodingGraph.read(tmp_path / "LG.npz")


def test_broken_arpa_file_is_an_error_in_kaldilms_words(lang_dir: Path) -> None:
    arpa = lang_dir / "3-gram.arpa"
    arpa.write_text(re.sub(r"\S+\tBRAVO", "much\tBRAVO", arpa.read_text(), count=1))
    with pytest.raises(DataError, match="invalid n-gram logprob 'much'"):
        prepare_graph(lang_dir, arpa)
    assert not (lang_dir / "LG.npz").exists()


def test_grammar_of_other_words_is_an_error(lang_dir: Path) -> None:
    arpa = lang_dir / "3-gram.arpa"
    arpa.write_text(arpa.read_text().lower())
    with pytest.raises(DataError, match="share no word"):
        prepare_graph(lang_dir, arpa)


def test_an_arpa_file_of_another_system_gives_the_same_graph(lang_dir: Path) -> None:
    arpa = lang_dir / "3-gram.arpa"
    expected = prepare_graph(lang_dir, arpa)
    windows = lang_dir / "windows.arpa"
    windows.write_bytes(b"\xef\xbb\xbf" + arpa.read_bytes().replace(b"\n", b"\r\n"))
    assert arcs(prepare_graph(lang_dir, windows)) == arcs(expected)


@pytest.fixture
def unknown_grammar(lang_dir: Path) -> Path:
    """An ARPA file that shares <UNK> with the word table, and no word."""
    path = lang_dir / "unknown.arpa"
    path.write_text(
        "\\data\\\nngram 1=4\n\n\\1-grams:\n-1.0 <s>\n-1.0 </s>\n-1.0 <UNK>\n-1.0 qqq\n\n\\end\\\n"
    )
    return path


def test_a_grammar_without_a_spoken_word_is_refused_and_nothing_is_written(
    lang_dir: Path, unknown_grammar: Path
) -> None:
    with pytest.raises(DataError, match="share no word"):
        prepare_graph(lang_dir, unknown_grammar)
    assert not (lang_dir / "LG.npz").exists()


def test_a_graph_whose_lexicon_spells_no_word_of_the_grammar_is_refused(lang_dir: Path) -> None:
    lexicon = lang_dir / "lexicon.txt"
    lines = lexicon.read_text().splitlines()
    lexicon.write_text("\n".join(line for line in lines if line.startswith("<UNK>")) + "\n")
    with pytest.raises(DataError, match=r"no word|no sentence"):
        prepare_graph(lang_dir, lang_dir / "3-gram.arpa")
    assert not (lang_dir / "LG.npz").exists()
