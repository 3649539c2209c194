"""The conformance kit: test classes for plugins.

Each class tests one kind of plugin. Derive a test class, name the plugin and run pytest:

    from calve.testing import EncoderConformance

    class TestMyEncoder(EncoderConformance):
        encoder = "my_encoder"

A failed check names the broken promise. The plugin must be installed. The kit needs no other test
tool than pytest. It is part of the public API and has calve's version: a minor release may add
checks, and the changelog names them.
"""

from __future__ import annotations

from calve.testing.datasets import DatasetConformance
from calve.testing.decoding_methods import DecoderConformance
from calve.testing.encoders import EncoderConformance
from calve.testing.exporters import ExporterConformance
from calve.testing.fsas import FsaBackendConformance
from calve.testing.losses import LossBackendConformance
from calve.testing.metadata import MetadataWriterConformance
from calve.testing.quantizers import QuantizerConformance
from calve.testing.runtimes import RuntimeConformance

__all__ = [
    "DatasetConformance",
    "DecoderConformance",
    "EncoderConformance",
    "ExporterConformance",
    "FsaBackendConformance",
    "LossBackendConformance",
    "MetadataWriterConformance",
    "QuantizerConformance",
    "RuntimeConformance",
]
