"""What a plugin registers itself with: the mark of a hook, specs, and errors.

What drivers and the references in specs must be is in `calve.protocols`, and the tests of plugins
are in `calve.testing`. Importing this module imports neither torch nor any runtime.
"""

from __future__ import annotations

from calve.common.references import LazyRef, Resource
from calve.data.geometry import StreamingGeometry
from calve.errors import (
    AudioError,
    BundleError,
    CalveError,
    CheckpointError,
    ConfigError,
    DataError,
    ExportError,
    PluginError,
    TokensError,
)
from calve.registry.hookspecs import hookimpl
from calve.registry.specs import (
    ClientSpec,
    CommandSpec,
    Conventions,
    DatasetSpec,
    DecodingMethodSpec,
    EncoderSpec,
    ExporterSpec,
    ExportStepSpec,
    MetadataWriterSpec,
    PretrainedSpec,
    QuantizerSpec,
    RecipeSpec,
    StageSpec,
)

__all__ = [
    "AudioError",
    "BundleError",
    "CalveError",
    "CheckpointError",
    "ClientSpec",
    "CommandSpec",
    "ConfigError",
    "Conventions",
    "DataError",
    "DatasetSpec",
    "DecodingMethodSpec",
    "EncoderSpec",
    "ExportError",
    "ExportStepSpec",
    "ExporterSpec",
    "LazyRef",
    "MetadataWriterSpec",
    "PluginError",
    "PretrainedSpec",
    "QuantizerSpec",
    "RecipeSpec",
    "Resource",
    "StageSpec",
    "StreamingGeometry",
    "TokensError",
    "hookimpl",
]
