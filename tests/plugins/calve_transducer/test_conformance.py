"""Decoding methods, loss backends and FSA backends in the conformance kit."""

from __future__ import annotations

from calve.testing import DecoderConformance, FsaBackendConformance, LossBackendConformance


class TestGreedySearch(DecoderConformance):
    decoder = "greedy_search"


class TestGreedySearchOfSeveralSymbols(DecoderConformance):
    decoder = "greedy_search"
    options = {"max_sym_per_frame": 3}  # noqa: RUF012


class TestModifiedBeamSearch(DecoderConformance):
    decoder = "modified_beam_search"


class TestBeamSearch(DecoderConformance):
    decoder = "beam_search"
    exact_timestamps = False


class TestFastBeamSearch(DecoderConformance):
    decoder = "fast_beam_search"


class TestFastBeamSearchNbest(DecoderConformance):
    decoder = "fast_beam_search_nbest"


class TestFastBeamSearchNbestOracle(DecoderConformance):
    decoder = "fast_beam_search_nbest_oracle"
    stream_options = {"ref_text": [3, 5, 3, 9, 4, 7]}  # noqa: RUF012


class TestTorchLoss(LossBackendConformance):
    backend = "torch"


class TestGraphWalker(FsaBackendConformance):
    backend = "calve"
