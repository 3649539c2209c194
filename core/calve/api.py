"""What a plugin registers itself with: the mark of a hook, specs, and errors.

What drivers and the references in specs must be is in `calve.protocols`, what helps with states in
`calve.states`, and the tests of plugins in `calve.testing`. Names in these four are stable: they
change only with a new major version of calve. Importing this module imports neither torch nor any
runtime.
"""

from __future__ import annotations

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
from calve.geometry import StreamingGeometry
from calve.hookspecs import hookimpl
from calve.specs import (
    ClientSpec,
    CommandSpec,
    Conventions,
    DatasetSpec,
    EncoderSpec,
    ExporterSpec,
    ExportStepSpec,
    LazyRef,
    MetadataWriterSpec,
    PretrainedSpec,
    QuantizerSpec,
    RecipeSpec,
    Resource,
    SearchSpec,
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
    "SearchSpec",
    "StageSpec",
    "StreamingGeometry",
    "TokensError",
    "hookimpl",
]
