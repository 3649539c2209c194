"""What a plugin registers itself with: the mark of a hook, specs, what drivers are, and errors.

What the references in specs must resolve to is in `calve.protocols`, what helps with states in
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
from calve.protocols import FsaBackend, FsaWalk, LossBackend, Runtime
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
    "FsaBackend",
    "FsaWalk",
    "LazyRef",
    "LossBackend",
    "MetadataWriterSpec",
    "PluginError",
    "PretrainedSpec",
    "QuantizerSpec",
    "RecipeSpec",
    "Resource",
    "Runtime",
    "SearchSpec",
    "StageSpec",
    "StreamingGeometry",
    "TokensError",
    "hookimpl",
]
