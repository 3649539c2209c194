"""Names for registering a plugin: the hook marker, specs and errors.

`calve.protocols` defines the interfaces of drivers and of the objects that specs refer to.
`calve.testing` contains tests for plugins. Importing this module imports neither torch nor a
runtime.
"""

from __future__ import annotations

from calve.common.ranges import Range, check_ranges
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
    "Range",
    "RecipeSpec",
    "Resource",
    "StageSpec",
    "StreamingGeometry",
    "TokensError",
    "check_ranges",
    "hookimpl",
]
