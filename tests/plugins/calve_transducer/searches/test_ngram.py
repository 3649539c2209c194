"""The n-gram model against its ARPA file, and what it does to a search."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from calve.data.tokens import SymbolTable
from calve.decoding.search import make_search
from calve.errors import ConfigError, DataError
from calve_transducer.runtime import TorchSession
from calve_transducer.searches.ngram import NgramModel

from .conftest import check_pieces, found, speech
from .test_modified_beam import by_definition

SYMBOLS = SymbolTable(("<blk>", "a", "<unk>", "b", "c", "d"))
A, B, C, D = 1, 3, 4, 5

PROBABILITIES = {
    ("<s>",): (-99.0, -0.4),
    ("</s>",): (-1.0, 0.0),
    ("a",): (-0.5, -0.3),
    ("b",): (-0.8, -0.2),
    ("c",): (-1.2, -0.1),
    ("<s>", "a"): (-0.2, -0.25),
    ("a", "b"): (-0.3, -0.15),
    ("b", "a"): (-0.35, 0.0),
    ("b", "</s>"): (-0.4, 0.0),
    ("<s>", "a", "b"): (-0.1, 0.0),
    ("a", "b", "a"): (-0.15, 0.0),
}
"""Decimal logarithms of n-grams and of their backoff weights; "d" is not known."""


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "3-gram.arpa"
    orders = [{k: v for k, v in PROBABILITIES.items() if len(k) == n} for n in (1, 2, 3)]
    lines = ["\\data\\", *(f"ngram {n}={len(one)}" for n, one in enumerate(orders, start=1))]
    for order, ngrams in enumerate(orders, start=1):
        lines += ["", f"\\{order}-grams:"]
        for words, (probability, backoff) in ngrams.items():
            weight = "" if order == 3 else f"\t{backoff}"
            lines.append(f"{probability}\t{' '.join(words)}{weight}")
    path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
    return path


def probability(history: tuple[str, ...], word: str) -> float:
    """Decimal logarithm of a word's probability, by the rules of ARPA files."""
    history = history[-2:]
    if (*history, word) in PROBABILITIES:
        return PROBABILITIES[(*history, word)][0]
    if not history:
        return math.nan
    return PROBABILITIES.get(history, (0.0, 0.0))[1] + probability(history[1:], word)


def natural(symbols: tuple[int, ...], scale: float) -> float:
    total, history = 0.0, ("<s>",)
    for symbol in symbols:
        known = [probability(history, word) for word in "abc"]
        one = probability(history, SYMBOLS[symbol])
        total += min(known) if math.isnan(one) else one
        history = (*history, SYMBOLS[symbol]) if not math.isnan(one) else ()
    return total * math.log(10) * scale


@pytest.mark.parametrize(
    "symbols",
    [(A,), (A, B), (A, B, A), (A, B, A, B, C), (C, C), (B, A, C, A, B, A), (D,), (A, D, A, B)],
)
def test_sequences_are_as_probable_as_the_arpa_file_says(arpa: Path, symbols: tuple[int, ...]):
    model = NgramModel(arpa, SYMBOLS, scale=0.7)
    state, total = model.initial, 0.0
    for symbol in symbols:
        total += model.scores(state)[symbol]
        state = model.following(state, symbol)
    assert total == pytest.approx(natural(symbols, 0.7), rel=1e-5)


def test_symbols_that_are_never_emitted_cost_nothing(arpa: Path):
    model = NgramModel(arpa, SYMBOLS, 1.0, silent=(0, 2))
    assert model.scores(model.initial)[[0, 2]].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("beam", [1, 3, 8])
def test_shallow_fusion_is_what_its_definition_says(
    random_session: TorchSession, arpa: Path, beam: int
):
    scale = 2.0
    search = make_search(
        "modified_beam_search",
        random_session,
        symbols=SYMBOLS,
        beam=beam,
        ngram_lm=arpa,
        ngram_lm_scale=scale,
    )
    changed = 0
    for seed in range(4):
        frames = speech(30, seed)
        tokens, score = by_definition(
            random_session, frames, beam, {0, 2}, lambda symbols: natural(symbols, scale)
        )
        result = found(search, frames)
        assert tuple(result.tokens) == tokens
        assert result.score == pytest.approx(score, rel=1e-5)
        changed += tokens != by_definition(random_session, frames, beam, {0, 2})[0]
    assert changed


def test_a_scale_of_zero_changes_nothing(random_session: TorchSession, arpa: Path):
    options = {"symbols": SYMBOLS, "ngram_lm": arpa, "ngram_lm_scale": 0.0}
    with_model = make_search("modified_beam_search", random_session, **options)
    without = make_search("modified_beam_search", random_session, symbols=SYMBOLS)
    frames = speech(40, seed=2)
    assert found(with_model, frames) == found(without, frames)


def test_chunk_by_chunk_is_as_good_as_whole(random_session: TorchSession, arpa: Path):
    search = make_search("modified_beam_search", random_session, symbols=SYMBOLS, ngram_lm=arpa)
    check_pieces(search, speech(50, seed=4), [3, 4, 20, 20, 41])


def test_mistakes_are_named(random_session: TorchSession, arpa: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="needs the symbol table"):
        make_search("modified_beam_search", random_session, ngram_lm=arpa)
    with pytest.raises(DataError, match="does not exist"):
        make_search(
            "modified_beam_search", random_session, symbols=SYMBOLS, ngram_lm=tmp_path / "no.arpa"
        )
    with pytest.raises(ConfigError, match="ngram_lm_scale is nan"):
        make_search("modified_beam_search", random_session, ngram_lm_scale=math.nan)
