"""N-best lists of lattices, and the methods that choose from them, against icefall and k2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calve.data.tokens import SymbolTable
from calve.decoding.search import make_search
from calve.errors import ConfigError
from calve.protocols import Hypothesis, Search
from calve_graphs.graph import trivial_graph
from calve_transducer.runtime import TorchSession
from calve_transducer.searches.lattice import Lattice
from calve_transducer.searches.nbest import Nbest, closest

from .conftest import Decoding, Language, found, found_together, noise

SEARCH_OPTIONS = ("beam", "max_contexts", "max_states")
NBEST_OPTIONS = ("num_paths", "nbest_scale")


def options_of(case: dict[str, Any]) -> dict[str, Any]:
    return {name: case[name] for name in (*SEARCH_OPTIONS, *NBEST_OPTIONS)}


def nbest_lists(search: Search, decoding: Decoding, case: dict[str, Any]) -> list[Nbest]:
    streams = [search.start() for _ in decoding.utterances]
    search.advance(streams, decoding.utterances)
    lattices = [
        Lattice(*search.walker.lattice(stream.walking, allow_partial=False)) for stream in streams
    ]
    options = {name: case[name] for name in NBEST_OPTIONS}
    return [Nbest(lattice, search._graph, **options) for lattice in lattices]


def test_sequences_and_their_scores_are_k2s(
    decoding: Decoding, language: Language, fsa_backend: str
):
    """A path's position uses up its digits, so that rounding chooses the end of long paths."""
    compared, lists, equal_lists = 0, 0, 0
    todo = [("fast_beam_search", {}, case) for case in decoding.results["nbest_trivial"]]
    for results in decoding.results["LG_results"]:
        given = {"LG": language.graphs["icefall"], "ngram_lm_scale": results["ngram_lm_scale"]}
        todo += [("fast_beam_search_LG", given, case) for case in results["nbest_LG"]]
    for method, given, case in todo:
        if "nbest" not in case:
            continue
        options = {name: case[name] for name in SEARCH_OPTIONS}
        search = make_search(method, decoding.session, **given, **options, fsa_backend=fsa_backend)
        for nbest, their in zip(nbest_lists(search, decoding, case), case["nbest"], strict=True):
            expected = {tuple(one["seq"]): one for one in their or []}
            ours = {tuple(sequence.tolist()): sequence for sequence in nbest.sequences}
            lists += 1
            equal_lists += ours.keys() == expected.keys()
            for key in ours.keys() & expected.keys():
                compared += 1
                best, path = nbest.align(ours[key])
                assert best == pytest.approx(expected[key]["score_tropical"], abs=1e-3)
                score = nbest.score(ours[key])
                assert score == pytest.approx(expected[key]["score_log"], abs=1e-3)
                assert nbest.lattice.score[path].sum() == pytest.approx(best, abs=1e-4)
    assert compared >= 40
    assert equal_lists >= 0.8 * lists


def test_the_best_alignment_of_drawn_tokens_is_icefalls(decoding: Decoding, fsa_backend: str):
    for case in decoding.results["nbest_trivial"]:
        expected = case["fast_beam_search_nbest"]
        search = make_search(
            "fast_beam_search_nbest", decoding.session, **options_of(case), fsa_backend=fsa_backend
        )
        ours = found_together(search, decoding.utterances)
        for utterance in np.flatnonzero(expected["stable"]):
            assert ours[utterance].tokens == expected["hyps"][utterance]
            assert ours[utterance].timestamps == expected["timestamps"][utterance]


def test_the_most_probable_drawn_words_are_icefalls(
    decoding: Decoding, language: Language, fsa_backend: str
):
    """On icefall's graph: which paths are drawn depends on the order of arcs with equal labels."""
    for results in decoding.results["LG_results"]:
        for case in results["nbest_LG"]:
            expected = case["fast_beam_search_nbest_LG"]
            search = make_search(
                "fast_beam_search_nbest_LG",
                decoding.session,
                LG=language.graphs["icefall"],
                ngram_lm_scale=results["ngram_lm_scale"],
                **options_of(case),
                fsa_backend=fsa_backend,
            )
            ours = found_together(search, decoding.utterances)
            for utterance in np.flatnonzero(expected["stable"]):
                words = [language.words.id(word) for word in ours[utterance].words]
                assert words == expected["hyps"][utterance]


def test_the_drawn_tokens_with_the_fewest_errors_are_icefalls(decoding: Decoding, fsa_backend: str):
    for case in decoding.results["nbest_trivial"]:
        expected = case["fast_beam_search_nbest_oracle"]
        search = make_search(
            "fast_beam_search_nbest_oracle",
            decoding.session,
            **options_of(case),
            fsa_backend=fsa_backend,
        )
        streams = [search.start(ref_text=reference) for reference in expected["ref_texts"]]
        search.advance(streams, decoding.utterances)
        for utterance in np.flatnonzero(expected["stable"]):
            result = search.result(streams[utterance])
            assert result.tokens == expected["hyps"][utterance]
            assert result.timestamps == expected["timestamps"][utterance]


def test_what_was_said_may_be_a_text(decoding: Decoding):
    symbols = SymbolTable(("<blk>", *(f"▁w{i}" for i in range(1, decoding.session.vocab_size))))
    case = {"num_paths": 50, "nbest_scale": 0.5}
    search = make_search("fast_beam_search", decoding.session, symbols=symbols, ilme_scale=0.1)
    said = [nbest.sequences[-1] for nbest in nbest_lists(search, decoding, case)]
    oracle = make_search("fast_beam_search_nbest_oracle", decoding.session, symbols=symbols, **case)
    streams = [oracle.start(ref_text=symbols.text(sequence)) for sequence in said]
    oracle.advance(streams, decoding.utterances)
    found_ = [oracle.result(stream).tokens for stream in streams]
    assert found_ == [sequence.tolist() for sequence in said]


def test_a_text_cannot_be_looked_for_without_symbols(decoding: Decoding):
    oracle = make_search("fast_beam_search_nbest_oracle", decoding.session)
    with pytest.raises(ConfigError, match="symbol table"):
        found(oracle, decoding.utterances[0], ref_text="one")


def test_an_oracle_that_is_not_told_what_was_said_is_an_error(random_session: TorchSession):
    oracle = make_search("fast_beam_search_nbest_oracle", random_session)
    with pytest.raises(ConfigError, match="needs a reference"):
        found(oracle, noise(9, seed=0))


def test_paths_are_drawn_in_proportion_to_their_probability():
    """Two ways through: three quarters and one quarter."""
    lattice = Lattice(
        source=np.array([0, 0, 1, 2], np.int32),
        destination=np.array([1, 2, 3, 3], np.int32),
        graph_arc=np.array([0, 1, 2, 2], np.int32),
        score=np.log(np.array([0.75, 0.25, 1.0, 1.0], np.float32)),
        num_states=4,
    )
    nbest = Nbest(lattice, trivial_graph(3), num_paths=4, nbest_scale=1.0)
    assert sorted(sequence.tolist() for sequence in nbest.sequences) == [[1], [2]]
    only = Nbest(lattice, trivial_graph(3), num_paths=1, nbest_scale=1.0)
    assert [sequence.tolist() for sequence in only.sequences] == [[1]]
    assert closest(nbest, [2, 2], np.ndarray.tolist) == (
        pytest.approx([1, 3]),
        pytest.approx(np.log(0.25)),
    )


def test_no_frames_and_no_complete_path_give_an_empty_hypothesis(
    random_session: TorchSession, fsa_backend: str
):
    for method in ("fast_beam_search_nbest", "fast_beam_search_nbest_oracle"):
        search = make_search(method, random_session, fsa_backend=fsa_backend)
        assert found(search, noise(0, seed=0), ref_text=[1]) == Hypothesis()


@pytest.mark.parametrize("option", ["num_paths", "nbest_scale"])
def test_options_that_cannot_be_right_are_refused(random_session: TorchSession, option: str):
    with pytest.raises(ConfigError, match=f"{option} is 0"):
        make_search("fast_beam_search_nbest", random_session, **{option: 0})
