"""What the references in specs must resolve to, room by room.

All names are imported from here; which room they are in may change.
"""

from __future__ import annotations

from calve.protocols.exporting import (
    ClientResult,
    ClientTranscribe,
    ExportStep,
    ExportWorkspace,
    Finding,
    MetadataStore,
)
from calve.protocols.fsas import FsaBackend, FsaWalk, LatticeColumns
from calve.protocols.models import ModelFamily, StreamingEncoder
from calve.protocols.progress import Progress
from calve.protocols.quantization import QuantizationWorkspace, Quantizer
from calve.protocols.searching import Hypothesis, Search
from calve.protocols.sessions import (
    LiveSession,
    OfflineSession,
    Runtime,
    Session,
    States,
    StreamingSession,
)
from calve.protocols.training import Batch, BatchLoader, LossBackend, OpenLoader, TrainingRun

__all__ = [
    "Batch",
    "BatchLoader",
    "ClientResult",
    "ClientTranscribe",
    "ExportStep",
    "ExportWorkspace",
    "Finding",
    "FsaBackend",
    "FsaWalk",
    "Hypothesis",
    "LatticeColumns",
    "LiveSession",
    "LossBackend",
    "MetadataStore",
    "ModelFamily",
    "OfflineSession",
    "OpenLoader",
    "Progress",
    "QuantizationWorkspace",
    "Quantizer",
    "Runtime",
    "Search",
    "Session",
    "States",
    "StreamingEncoder",
    "StreamingSession",
    "TrainingRun",
]
