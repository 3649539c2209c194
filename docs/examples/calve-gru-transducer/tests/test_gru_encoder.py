"""The GRU encoder in calve's conformance kit."""

from __future__ import annotations

from calve.testing import EncoderConformance


class TestGruEncoder(EncoderConformance):
    encoder = "gru"
