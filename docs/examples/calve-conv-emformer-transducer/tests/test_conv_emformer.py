"""The ConvEmformer in calve's conformance kit."""

from __future__ import annotations

from calve.testing import EncoderConformance, MetadataWriterConformance


class TestConvEmformer(EncoderConformance):
    encoder = "conv_emformer"


class TestSherpaMetadata(MetadataWriterConformance):
    encoder = "conv_emformer"
    format = "ncnn"
    recipe = "conv_emformer_transducer"
