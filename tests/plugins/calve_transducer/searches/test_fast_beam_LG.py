"""Fast beam search on a graph LG, against icefall and against its own definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import calve
from calve.data.tokens import SymbolTable
from calve.decoding.search import make_search
from calve.errors import ConfigError, DataError
from calve.protocols import Hypothesis
from calve_graphs.graph import DecodingGraph
from calve_transducer.runtime import TorchSession

from .conftest import Decoding, Language, found, found_together, noise
from .test_fast_beam import by_definition

METHOD = "fast_beam_search_LG"


def search_options(case: dict[str, Any]) -> dict[str, Any]:
    return {name: case[name] for name in ("beam", "max_contexts", "max_states")}


@pytest.mark.parametrize("compiler", ["icefall", "calve"])
@pytest.mark.parametrize("allow_partial", [False, True])
def test_it_finds_the_words_that_icefall_finds(
    decoding: Decoding, language: Language, compiler: str, allow_partial: bool, fsa_backend: str
):
    graph = language.graphs[compiler]
    compared = 0
    for results in decoding.results["LG_results"]:
        scale = results["ngram_lm_scale"]
        for case in results[METHOD + "_allow_partial" * allow_partial]:
            search = make_search(
                METHOD,
                decoding.session,
                LG=graph,
                ngram_lm_scale=scale,
                allow_partial=allow_partial,
                **search_options(case),
                fsa_backend=fsa_backend,
            )
            ours = found_together(search, decoding.utterances)
            for utterance in np.flatnonzero(case["stable"]):
                result = ours[utterance]
                compared += 1
                assert [language.words.id(word) for word in result.words] == case["hyps"][utterance]
                assert result.word_timestamps == case["timestamps"][utterance]
                if "best_path" in case:
                    expected = case["best_path"][utterance]["total"]
                    assert result.score == pytest.approx(expected, abs=1e-3)
    assert compared >= 25


def test_tokens_spell_the_words(decoding: Decoding, language: Language, fsa_backend: str):
    spelling = dict(decoding.results["LG"]["lexicon"])
    search = make_search(
        METHOD, decoding.session, LG=language.path, ngram_lm_scale=0.5, fsa_backend=fsa_backend
    )
    for result in found_together(search, decoding.utterances):
        assert result.words
        pieces = [piece for word in result.words for piece in spelling[word]]
        assert [language.tokens[token] for token in result.tokens] == pieces
        assert len(result.timestamps) == len(result.tokens)


def test_a_sentence_that_the_graph_does_not_end_is_found_only_if_it_may_be_partial(
    random_session: TorchSession, fsa_backend: str
):
    """The only sentence is "1 2 3", and there are too few frames for it."""
    graph = DecodingGraph.from_arcs([0, 1, 2, 3], [1, 2, 3, 4], [1, 2, 3, -1], [0, 0, 0, 0])
    frames = noise(3, seed=0)
    assert (
        found(make_search(METHOD, random_session, LG=graph, fsa_backend=fsa_backend), frames)
        == Hypothesis()
    )
    partial = make_search(
        METHOD, random_session, LG=graph, allow_partial=True, fsa_backend=fsa_backend
    )
    assert found(partial, frames).score < 0


def test_without_pruning_it_is_the_best_of_all_alignments(
    random_session: TorchSession, fsa_backend: str
):
    """Two sentences, "1 3" and "4", with scores; the first is the better for the graph."""
    graph = DecodingGraph.from_arcs(
        [0, 1, 0, 2, 2], [1, 2, 2, 3, 0], [1, 3, 4, -1, 5], [-0.5, -0.25, -1.5, -0.1, -0.7]
    )
    wide = {"beam": 1000.0, "max_contexts": 1000, "max_states": 1000}
    search = make_search(
        METHOD, random_session, LG=graph, ngram_lm_scale=2.0, **wide, fsa_backend=fsa_backend
    )
    sentences = set()
    for seed in range(8):
        frames = 2 * noise(12, seed)
        said, score = by_definition(random_session, frames, set(range(1, 6)), graph.scaled(2.0))
        result = found(search, frames)
        assert result.tokens == said
        assert result.score == pytest.approx(score, rel=1e-5)
        sentences.add(tuple(said))
    assert len(sentences) > 1


def test_a_graph_for_other_tokens_is_refused(decoding: Decoding, language: Language):
    swapped = list(language.tokens.for_vocabulary(30).symbols)
    swapped[5], swapped[6] = swapped[6], swapped[5]
    with pytest.raises(DataError, match="another token table") as caught:
        calve.search(
            decoding.session,
            decoding.utterances[0][None],
            np.array([len(decoding.utterances[0])]),
            METHOD,
            LG=language.path,
            symbols=SymbolTable(tuple(swapped)),
        )
    assert caught.value.where == str(language.path)


def test_a_graph_with_tokens_that_the_model_does_not_score_is_refused(
    random_session: TorchSession, language: Language
):
    with pytest.raises(DataError, match="the model scores 6 tokens"):
        make_search(METHOD, random_session, LG=language.graphs["icefall"])


def test_no_graph_and_a_missing_graph_are_refused(random_session: TorchSession, tmp_path: Path):
    with pytest.raises(ConfigError, match="needs a value for LG"):
        make_search(METHOD, random_session)
    with pytest.raises(DataError, match="does not exist"):
        make_search(METHOD, random_session, LG=tmp_path / "LG.npz")
    with pytest.raises(ConfigError, match="LG"):
        make_search(METHOD, random_session, LG=3)
