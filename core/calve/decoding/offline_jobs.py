"""Jobs of a decoding sweep, one model on one split each. Finished jobs are kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calve.common.files import atomic_file
from calve.common.inputs import read_json
from calve.common.progress import NO_PROGRESS, Progress, tracked
from calve.data.geometry import StreamingGeometry
from calve.data.utterances import Failure, Utterance
from calve.decoding.checkpoint_model import CheckpointModel
from calve.decoding.decoded import Decoded
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.offline_decoding import MAX_DURATION, decode_offline
from calve.decoding.opened_model import OpenedModel
from calve.decoding.results import DecodingResult
from calve.decoding.splits import Split, file_stamp
from calve.errors import DataError
from calve.protocols import LiveSession
from calve.protocols.sessions import WHOLE_UTTERANCES
from calve.scoring.result_files import ResultFiles, read_recogs, write_results

__all__ = ["OfflineJob", "run_job"]


@dataclass(frozen=True)
class OfflineJob:
    """One model on some splits, with several decoding methods.

    Attributes:
      simulate_streaming: Whether the encoder is limited to chunks.
      chunk_size: Encoder frames of a simulated step; the model's own by default.
      max_duration: Seconds in a batch.
      res_dir: Directory for the results, with a folder for each method; None to keep nothing.
      unit: Unit of errors in the files.
      hotwords: Texts to count in the files.
      redo: Whether to decode again if results exist.
    """

    model: CheckpointModel
    splits: tuple[Split, ...]
    methods: tuple[DecodingMethod, ...]
    simulate_streaming: bool = False
    chunk_size: int | None = None
    max_duration: float = MAX_DURATION
    res_dir: Path | None = None
    unit: str = "word"
    hotwords: tuple[str, ...] = ()
    redo: bool = False


def run_job(job: OfflineJob, progress: Progress = NO_PROGRESS) -> list[DecodingResult]:
    """Decode with the methods without results on disk, and read the results of the others.

    A result on disk is used if everything that determines it is unchanged: checkpoint files,
    options, utterances with their references, and calve's version.

    Raises:
      CalveError: if the model or a split cannot be used; finished results are kept.
    """
    opened: OpenedModel[LiveSession] | None = None
    results: list[DecodingResult] = []
    for split in job.splits:
        utterances = split.utterances()
        store = _Store(job, split, utterances)
        there = {} if job.redo else store.read_all()
        missing = [method for method in job.methods if method.key not in there]
        if missing:
            opened = opened or _open(job)
            with tracked(progress, f"{split.name}: {job.model.name}", len(utterances)):
                decoded = decode_offline(
                    opened.session,
                    opened.symbols,
                    utterances,
                    missing,
                    features=opened.features,
                    simulate_streaming=job.simulate_streaming,
                    tail_padding_frames=opened.tail_padding_frames,
                    max_duration=job.max_duration,
                    progress=progress,
                )
            for method in missing:
                there[method.key] = store.write(
                    method, _mode(opened.session.geometry, job), decoded[method.key]
                )
        results.extend(there[method.key] for method in job.methods)
    return results


def _open(job: OfflineJob) -> OpenedModel[LiveSession]:
    opened = job.model.open()
    opened.session.geometry = opened.session.geometry.with_chunk_size(job.chunk_size)
    return opened


class _Store:
    """Results of a job on one split, on disk.

    The record next to the files in icefall's format states what they are the results of. It is
    written last.
    """

    def __init__(self, job: OfflineJob, split: Split, utterances: Sequence[Utterance]) -> None:
        self._job = job
        self._split = split
        said = [[one.name, one.text] for one in utterances]
        self._fingerprint = {
            "model": job.model.fingerprint(),
            "simulate_streaming": job.simulate_streaming,
            "chunk_size": job.chunk_size if job.simulate_streaming else None,
            "utterances": hashlib.sha256(json.dumps(said).encode()).hexdigest(),
        }

    def read_all(self) -> dict[str, DecodingResult]:
        """Read the existing results, by the method's key."""
        found = ((method.key, self._read(method)) for method in self._job.methods)
        return {key: result for key, result in found if result is not None}

    def write(self, method: DecodingMethod, mode: str, decoded: Decoded) -> DecodingResult:
        """Write a result."""
        result = self._score(method, mode, decoded, resumed=False)
        if result.files is not None:
            record = {
                "decided_by": self._decided_by(method),
                "mode": mode,
                "failures": [[one.name, one.reason] for one in decoded.failures],
            }
            with atomic_file(_record(result.files)) as temporary:
                temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return result

    def _read(self, method: DecodingMethod) -> DecodingResult | None:
        files = self._files(method)
        if files is None or not _record(files).is_file():
            return None
        try:
            record = read_json(_record(files), "record of a result", DataError)
            if record["decided_by"] != self._decided_by(method):
                return None
            failures = [Failure(*pair) for pair in record["failures"]]
            decoded = Decoded(read_recogs(files.recogs), failures)
            mode = str(record["mode"])
        except (OSError, ValueError, LookupError, TypeError, DataError):
            # A damaged result is computed again.
            return None
        return self._score(method, mode, decoded, resumed=True)

    def _score(
        self, method: DecodingMethod, mode: str, decoded: Decoded, *, resumed: bool
    ) -> DecodingResult:
        """Write the files; also for existing results, because the unit may differ."""
        files = self._files(method)
        split, model = self._split.name, self._job.model.name
        if files is not None:
            title = f"{split}, {method.key}, {model}, {mode}"
            score = decoded.score(self._job.unit)
            write_results(files, title, decoded.utterances, score, self._job.hotwords)
        runtime = self._job.model.runtime
        return DecodingResult(split, runtime, mode, model, method.key, decoded, files, resumed)

    def _decided_by(self, method: DecodingMethod) -> dict[str, Any]:
        options = {
            name: file_stamp(value) if isinstance(value, Path) else str(value)
            for name, value in method.options.items()
        }
        return {**self._fingerprint, "method": method.name, "options": options}

    def _files(self, method: DecodingMethod) -> ResultFiles | None:
        if self._job.res_dir is None:
            return None
        folder = self._job.res_dir / method.name
        return ResultFiles.named(folder, self._split.name, method.key, _suffix(self._job))


def _record(files: ResultFiles) -> Path:
    return files.recogs.with_name(files.recogs.name.replace("recogs-", "record-", 1)).with_suffix(
        ".json"
    )


def _suffix(job: OfflineJob) -> str:
    """Return icefall's suffix: the model and the given settings of simulated streaming."""
    if not job.simulate_streaming:
        return job.model.name
    given = job.model.overrides.get("encoder", {})
    parts = [job.model.name, "streaming"]
    if job.chunk_size is not None:
        parts.append(f"chunk-size-{job.chunk_size}")
    if "left_context" in given:
        parts.append(f"left-context-{given['left_context']}")
    return "-".join(parts)


def _mode(geometry: StreamingGeometry, job: OfflineJob) -> str:
    if not job.simulate_streaming:
        return WHOLE_UTTERANCES
    return f"simulated streaming, {geometry.chunk_ms} ms"
