"""Hotwords against their definition, and what they do to a search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import calve
from calve.data.hotwords import read_hotwords
from calve.data.tokens import SymbolTable
from calve.decoding.search import make_search
from calve.errors import ConfigError, DataError
from calve_transducer.runtime import TorchSession
from calve_transducer.searches.hotwords import Hotwords, Speller

from .conftest import found, speech

SYMBOLS = SymbolTable(("<blk>", "a", "<unk>", "b", "c", "d"))

sequences = st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple)


def added(hotwords: Hotwords, symbols: tuple[int, ...]) -> tuple[float, float]:
    """What a sequence of symbols was given, and what of it is only lent."""
    state, total = hotwords.initial, 0.0
    for symbol in symbols:
        total += hotwords.scores(state)[symbol]
        state = hotwords.following(state, symbol)
    return total, hotwords.lent(state)


@given(
    phrases=st.sets(sequences, max_size=5),
    symbols=st.lists(st.integers(1, 3), max_size=12).map(tuple),
)
def test_every_phrase_that_is_found_counts_and_the_beginning_of_one_is_lent(
    phrases: set[tuple[int, ...]], symbols: tuple[int, ...]
):
    total, lent = added(Hotwords([(phrase, 0.5) for phrase in phrases], 4), symbols)
    whole = sum(
        0.5 * len(phrase)
        for phrase in phrases
        for start in range(len(symbols))
        if symbols[start : start + len(phrase)] == phrase
    )
    beginnings = {phrase[:length] for phrase in phrases for length in range(len(phrase))}
    suffixes = [symbols[start:] for start in range(len(symbols))]
    open_ = max((len(one) for one in suffixes if one in beginnings), default=0)
    assert lent == pytest.approx(0.5 * open_)
    assert total - lent == pytest.approx(whole, abs=1e-5)


def test_phrases_may_have_scores_of_their_own():
    hotwords = Hotwords([((1, 3), 2.0), ((1, 3), 0.5), ((1,), -1.0)], 4)
    total, lent = added(hotwords, (1, 3, 2))
    assert (total, lent) == (pytest.approx(2 * 2.0 - 1.0), 0.0)


def test_symbols_that_are_never_emitted_add_nothing():
    hotwords = Hotwords([((1, 3), 1.0)], 4, silent=(0, 2))
    assert hotwords.scores(hotwords.following(hotwords.initial, 1)).tolist() == [0, 0, 0, 1]


def test_a_stream_favours_its_own_hotwords(random_session: TorchSession):
    frames = speech(40, seed=1)
    search = make_search("modified_beam_search", random_session, symbols=SYMBOLS)
    phrase = [5, 1]
    without = found(search, frames)
    favoured = found(search, frames, hotwords=["d a"])
    assert count(without.tokens, phrase) < count(favoured.tokens, phrase)
    assert found(search, frames, hotwords=[]) == without


def test_streams_with_other_hotwords_do_not_disturb_one_another(random_session: TorchSession):
    search = make_search(
        "modified_beam_search", random_session, symbols=SYMBOLS, hotwords_score=3.0
    )
    wishes = [None, ["b b d"], ["a c", "c c c"], []]
    utterances = [speech(length, length) for length in (30, 41, 25, 30)]
    streams = [search.start(hotwords=wish) for wish in wishes]
    search.advance(streams, utterances)
    for stream, frames, wish in zip(streams, utterances, wishes, strict=True):
        alone, together = found(search, frames, hotwords=wish), search.result(stream)
        assert (together.tokens, together.timestamps) == (alone.tokens, alone.timestamps)
        assert together.score == pytest.approx(alone.score, rel=1e-5)


def test_what_was_lent_to_a_phrase_that_did_not_end_is_not_in_the_score(
    random_session: TorchSession,
):
    search = make_search("modified_beam_search", random_session, symbols=SYMBOLS, beam=1)
    frames = speech(1, seed=1)
    (symbol,) = found(search, frames).tokens
    phrase = f"{SYMBOLS[symbol]} d d d"
    favoured, plain = found(search, frames, hotwords=[phrase]), found(search, frames)
    assert favoured.tokens == plain.tokens
    assert favoured.score == pytest.approx(plain.score, rel=1e-5)


def test_hotwords_come_from_a_file_and_through_calve_search(
    random_session: TorchSession, tmp_path: Path
):
    path = tmp_path / "hotwords.txt"
    path.write_text("d a :6\n\nc\n", encoding="utf-8")
    frames = speech(40, seed=1)
    given_ = (random_session, frames[None], np.array([40]), "modified_beam_search")
    (from_file,) = calve.search(*given_, symbols=SYMBOLS, hotwords_file=path)
    (from_stream,) = calve.search(*given_, symbols=SYMBOLS, hotwords=["d a"])
    assert count(from_file.tokens, [5, 1]) > count(from_stream.tokens, [5, 1])


def test_words_are_spelled_by_the_bpe_model(goldens: Path, tmp_path: Path):
    import io

    import sentencepiece

    words = ["seven", "eleven", "seventeen", "one", "none"] * 20
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words), model_writer=model, vocab_size=18, model_type="bpe"
    )
    path = tmp_path / "bpe.model"
    path.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = [processor.id_to_piece(index) for index in range(3, processor.vocab_size())]
    symbols = SymbolTable(("<blk>", "<sos/eos>", "<unk>", *pieces))
    speller = Speller(symbols, path)
    spelt = speller.spell("seven one")
    assert symbols.text(spelt) == "seven one"
    assert speller.spell(" ".join(symbols[index] for index in spelt)) == spelt
    with pytest.raises(ConfigError, match="cannot be spelled"):
        Speller(symbols).spell("seven one")


def test_mistakes_in_hotwords_are_named(random_session: TorchSession, tmp_path: Path):
    search = make_search("modified_beam_search", random_session, symbols=SYMBOLS)
    with pytest.raises(ConfigError, match="no 'x'"):
        search.start(hotwords=["a x"])
    with pytest.raises(ConfigError, match="a hotword is empty"):
        search.start(hotwords=[" "])
    with pytest.raises(ConfigError, match="needs the symbol table"):
        make_search("modified_beam_search", random_session).start(hotwords=["a"])
    path = tmp_path / "hotwords.txt"
    for score in ("much", "nan", "inf"):
        path.write_text(f"a b\na :{score}\n", encoding="utf-8")
        with pytest.raises(DataError, match="does not end in a score") as caught:
            read_hotwords(path)
        assert str(caught.value.where).endswith("line 2")
    with pytest.raises(DataError, match="there is no such file of hotwords"):
        read_hotwords(tmp_path / "absent.txt")
    with pytest.raises(DataError, match="not a sentencepiece model"):
        Speller(SYMBOLS, path)


def count(tokens: list[int], phrase: list[int]) -> int:
    """How often a phrase occurs."""
    return sum(tokens[start : start + len(phrase)] == phrase for start in range(len(tokens)))
