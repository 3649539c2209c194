"""k2's walker beside calve's own, in every fast beam search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calve.decoding.search import make_search
from calve.protocols import Hypothesis

from .conftest import Decoding, Language

OPTIONS = ("beam", "max_contexts", "max_states", "num_paths", "nbest_scale", "temperature")


def cases(
    method: str, decoding: Decoding, language: Language
) -> Iterator[tuple[dict[str, Any], list[bool]]]:
    """Options of a method, and in which utterances its result does not hang by a hair."""
    results = decoding.results
    if "LG" not in method:
        for case in results["nbest_trivial" if "nbest" in method else "fast_beam_search_trivial"]:
            yield _options(case), case.get(method, case)["stable"]
        return
    for result in results["LG_results"]:
        given = {"LG": language.path, "ngram_lm_scale": result["ngram_lm_scale"]}
        for case in result["nbest_LG" if "nbest" in method else "fast_beam_search_LG"]:
            yield {**given, **_options(case)}, case.get(method, case)["stable"]


def _options(case: dict[str, Any]) -> dict[str, Any]:
    return {name: case[name] for name in OPTIONS if name in case}


def hypotheses(
    method: str, decoding: Decoding, options: dict[str, Any], fsa_backend: str
) -> list[Hypothesis]:
    search = make_search(method, decoding.session, **options, fsa_backend=fsa_backend)
    takes_reference = method.endswith("oracle")
    streams = [
        search.start(**({"ref_text": [3, 4, 5, 6]} if takes_reference else {}))
        for _ in decoding.utterances
    ]
    search.advance(streams, decoding.utterances)
    return [search.result(stream) for stream in streams]


@pytest.mark.slow
@pytest.mark.parametrize("allow_partial", [False, True])
@pytest.mark.parametrize("suffix", ["", "_LG", "_nbest", "_nbest_LG", "_nbest_oracle"])
def test_k2_finds_what_calve_finds(
    k2_python: Path,
    monkeypatch: pytest.MonkeyPatch,
    decoding: Decoding,
    language: Language,
    suffix: str,
    allow_partial: bool,
):
    monkeypatch.setenv("CALVE_K2_PYTHON", str(k2_python))
    method = f"fast_beam_search{suffix}"
    compared = 0
    for options, stable in cases(method, decoding, language):
        options["allow_partial"] = allow_partial
        ours = hypotheses(method, decoding, options, "calve")
        theirs = hypotheses(method, decoding, options, "k2-elsewhere")
        for utterance in np.flatnonzero(stable):
            one, other = ours[utterance], theirs[utterance]
            assert (one.tokens, one.timestamps) == (other.tokens, other.timestamps)
            assert (one.words, one.word_timestamps) == (other.words, other.word_timestamps)
            assert one.score == pytest.approx(other.score, abs=1e-3)
            compared += bool(one.tokens)
    assert compared >= 4
