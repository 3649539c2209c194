"""What drivers and the references in specs must be, a module for each subject.

All names are imported from here; which module they are in may change.
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
from calve.protocols.loading import LoaderOptions, Shard, loader_option, with_default
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
