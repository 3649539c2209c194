"""Interfaces of drivers and of the objects that specs refer to, one module for each subject.

No implementation is here. Import all names from this package; the modules may change.
Every room above `data` may import it, and so may plugins.
"""

from __future__ import annotations

from calve.protocols.bundles import BundleManifest, FileRecord, OpenedBundle
from calve.protocols.exporting import (
    ClientResult,
    ClientTranscribe,
    ExportStep,
    ExportWorkspace,
    Finding,
    MetadataStore,
)
from calve.protocols.fsas import FsaBackend, FsaWalk, LatticeColumns
from calve.protocols.loading import WHOLE, LoaderOptions, Shard, loader_option, with_default
from calve.protocols.models import ModelFamily, StreamingEncoder
from calve.protocols.quantization import (
    ActivationReport,
    CalibrationReport,
    LayerReport,
    QuantizationReport,
    QuantizationWorkspace,
    Quantizer,
    VariantReport,
)
from calve.protocols.searching import Hypothesis, Search
from calve.protocols.sessions import (
    LiveSession,
    OfflineSession,
    Runtime,
    Session,
    States,
    StreamingSession,
)
from calve.protocols.training import (
    Batch,
    BatchLoader,
    LossBackend,
    OpenLoader,
    TrainingData,
    TrainingRun,
)

__all__ = [
    "WHOLE",
    "ActivationReport",
    "Batch",
    "BatchLoader",
    "BundleManifest",
    "CalibrationReport",
    "ClientResult",
    "ClientTranscribe",
    "ExportStep",
    "ExportWorkspace",
    "FileRecord",
    "Finding",
    "FsaBackend",
    "FsaWalk",
    "Hypothesis",
    "LatticeColumns",
    "LayerReport",
    "LiveSession",
    "LoaderOptions",
    "LossBackend",
    "MetadataStore",
    "ModelFamily",
    "OfflineSession",
    "OpenLoader",
    "OpenedBundle",
    "QuantizationReport",
    "QuantizationWorkspace",
    "Quantizer",
    "Runtime",
    "Search",
    "Session",
    "Shard",
    "States",
    "StreamingEncoder",
    "StreamingSession",
    "TrainingData",
    "TrainingRun",
    "VariantReport",
    "loader_option",
    "with_default",
]
