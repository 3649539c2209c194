"""The LSTM encoder and its metadata in the conformance kit."""

from __future__ import annotations

import pytest

from calve.testing import EncoderConformance, MetadataWriterConformance

RECIPE = "lstm_transducer_stateless2"


class TestLstm(EncoderConformance):
    encoder = "lstm"

    @pytest.mark.slow
    def test_a_claimed_format_works_and_only_claimed_clients_open_it(
        self, format_name: str
    ) -> None:
        super().test_a_claimed_format_works_and_only_claimed_clients_open_it(format_name)


class TestOnnxMetadata(MetadataWriterConformance):
    encoder, format, recipe = "lstm", "onnx", RECIPE


@pytest.mark.slow
class TestNcnnMetadata(MetadataWriterConformance):
    encoder, format, recipe = "lstm", "ncnn", RECIPE


class TestTraceMetadata(MetadataWriterConformance):
    encoder, format, recipe = "lstm", "jit-trace", RECIPE
