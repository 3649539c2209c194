"""Activation ranges, measured while recordings are decoded.

Each recording is streamed through encoder, search, decoder and joiner with carried states. The
inputs of the layers in question are read out of the running networks. Two passes, as ncnn defines
it: the first finds each input's largest absolute value, the second its histogram. Only these are
kept, however many recordings there are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.api import AudioError, BundleError, DataError
from calve.bundles.bundle import Bundle
from calve.common.parallel import ordered_map
from calve.common.progress import Progress, tracked
from calve.data.audio import AudioReader
from calve.protocols import CalibrationReport
from calve.protocols.bundles import OpenedBundle
from calve.services import OnlineRecognizer
from calve_ncnn.int8.scales import BINS
from calve_ncnn.network import NcnnNetwork
from calve_ncnn.runtime import NcnnSession

__all__ = ["Calibration", "Histogram", "Taps", "calibrate"]

Float32Array = NDArray[np.float32]

Taps = tuple[tuple[str, tuple[str, ...]], ...]
"""Names of the blobs to watch, by network; hashable, since each process loads them once."""

_CHUNK_MS = 640
"""A long chunk gives the same activations as a short one, faster."""

_MIN_SECONDS = 0.2
_MIN_TOTAL_SECONDS = 1.0


@dataclass(frozen=True)
class Histogram:
    """The absolute values of one blob.

    Attributes:
      absmax: The largest.
      counts: (BINS,) non-zero values by size, equal bins from 0 to ``absmax``.
    """

    absmax: float
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """What was seen of each watched blob, by (network, blob), and on what."""

    histograms: dict[tuple[str, str], Histogram]
    report: CalibrationReport


@dataclass(frozen=True)
class _Seen:
    """What one recording adds: per watched blob, in order, an absolute maximum or counts."""

    duration: float
    values: NDArray[Any]


def calibrate(
    bundle: OpenedBundle, recordings: Sequence[Path], taps: Taps, *, jobs: int, progress: Progress
) -> Calibration:
    """Measure activations.

    Recordings that are silent, too short, unreadable or of another sampling rate are skipped and
    named in the report.

    Raises:
      DataError: if less than a second of audio remains.
      BundleError: if a blob never carries anything but zeros, or carries NaN or infinity.
    """
    try:
        return _calibrate(bundle, recordings, taps, jobs, progress)
    finally:
        # Also after an error: a bundle that is exported anew to the same path has other networks.
        _session.cache_clear()


def _calibrate(
    bundle: OpenedBundle, recordings: Sequence[Path], taps: Taps, jobs: int, progress: Progress
) -> Calibration:
    started = time.perf_counter()
    blobs = [(network, blob) for network, names in taps for blob in names]
    absmax = np.zeros(len(blobs), np.float32)
    usable, skipped, total = [], {}, 0.0
    with tracked(progress, "calibrate: find ranges", len(recordings)):
        for path, seen in _each(bundle, recordings, taps, None, jobs, progress):
            if isinstance(seen, str):
                skipped[str(path)] = seen
                continue
            usable.append(path)
            total += seen.duration
            absmax = np.maximum(absmax, seen.values)
    _check(recordings, skipped, total)
    _check_ranges(bundle, blobs, absmax)
    counts = np.zeros((len(blobs), BINS), np.int64)
    with tracked(progress, "calibrate: fill histograms", len(usable)):
        for _, seen in _each(bundle, usable, taps, tuple(absmax.tolist()), jobs, progress):
            counts += seen.values
    report = CalibrationReport(
        source="recordings",
        recordings=len(usable),
        audio_seconds=total,
        seconds=time.perf_counter() - started,
        skipped=skipped,
    )
    histograms = map(Histogram, absmax.tolist(), counts)
    return Calibration(dict(zip(blobs, histograms, strict=True)), report)


def _each(
    bundle: OpenedBundle,
    recordings: Sequence[Path],
    taps: Taps,
    absmax: tuple[float, ...] | None,
    jobs: int,
    progress: Progress,
) -> Any:
    """(path, what was seen or why nothing was) of each recording, in order."""
    work = partial(_stream, bundle.path, taps, absmax)
    for path, seen in zip(recordings, ordered_map(work, recordings, jobs=jobs), strict=True):
        progress.advance()
        yield path, seen


def _stream(
    bundle_dir: Path, taps: Taps, absmax: tuple[float, ...] | None, path: Path
) -> _Seen | str:
    recognizer, watcher = _session(bundle_dir, taps)
    try:
        with AudioReader(path, recognizer.features.sample_rate) as audio:
            useless = _why_useless(audio)
            if useless is not None:
                return useless
            watcher.begin(absmax)
            # A stream, since the recognizer itself would first decode a second of silence.
            stream = recognizer.stream()
            for samples in audio:
                stream.accept(samples)
            stream.finish()
            return _Seen(audio.duration, watcher.values)
    except AudioError as error:
        return error.what


def _why_useless(audio: AudioReader) -> str | None:
    if audio.stored_rate != audio.sample_rate:
        return f"its sampling rate is {audio.stored_rate} Hz, the model's is {audio.sample_rate}"
    if audio.duration < _MIN_SECONDS:
        return f"it lasts only {audio.duration:.2f} s"
    return "it holds only silence" if audio.is_silent else None


class _ActivationWatcher:
    """Gathers, for one recording, either absolute maxima or histograms of the watched blobs."""

    def __init__(self, taps: Taps) -> None:
        self._first: dict[str, int] = {}
        self._count = 0
        for network, blobs in taps:
            self._first[network] = self._count
            self._count += len(blobs)

    def begin(self, absmax: tuple[float, ...] | None) -> None:
        self._absmax = absmax
        self.values: NDArray[Any] = (
            np.zeros(self._count, np.float32)
            if absmax is None
            else np.zeros((self._count, BINS), np.int64)
        )

    def see(self, network: str, arrays: Sequence[Float32Array]) -> None:
        for index, array in enumerate(arrays, start=self._first[network]):
            if self._absmax is None:
                # A NaN wins here, and is found out by the caller.
                self.values[index] = np.maximum(self.values[index], np.abs(array).max())
            else:
                self.values[index] += _histogram(array, self._absmax[index])


def _histogram(array: Float32Array, absmax: float) -> NDArray[np.int64]:
    values = np.abs(array[array != 0])
    # In single precision, as ncnn puts a value into its bin.
    bins = (values / np.float32(absmax) * np.float32(BINS)).astype(np.int64)
    return np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)


class _TappedNetwork:
    """A network that also shows the watcher some of its blobs."""

    def __init__(
        self, network: NcnnNetwork, name: str, outputs: int, watcher: _ActivationWatcher
    ) -> None:
        self._network, self._name, self._outputs = network, name, outputs
        self._watcher = watcher

    def run(self, *inputs: NDArray[np.generic]) -> list[Float32Array]:
        results = self._network.run(*inputs)
        self._watcher.see(self._name, results[self._outputs :])
        return results[: self._outputs]


class _TappedSession(NcnnSession):
    """The usual session on networks that are watched."""

    def __init__(self, bundle: Bundle, taps: Taps, watcher: _ActivationWatcher) -> None:
        self._taps: Mapping[str, tuple[str, ...]] = dict(taps)
        self._watcher = watcher
        super().__init__(bundle, num_threads=1, fp16=False)

    def _load_network(
        self, bundle_dir: Path, name: str, inputs: int, outputs: Sequence[str], **options: Any
    ) -> Any:
        blobs = self._taps.get(name)
        if blobs is None:
            return super()._load_network(bundle_dir, name, inputs, outputs, **options)
        wanted = (*outputs, *blobs)
        network = NcnnNetwork(
            bundle_dir, name, inputs=inputs, outputs=wanted, keep_blobs=True, **options
        )
        return _TappedNetwork(network, name, len(outputs), self._watcher)


@lru_cache(maxsize=1)
def _session(bundle_dir: Path, taps: Taps) -> tuple[OnlineRecognizer, _ActivationWatcher]:
    """One loaded model per process."""
    bundle = Bundle.open(bundle_dir)
    watcher = _ActivationWatcher(taps)
    manifest = bundle.manifest
    recognizer = OnlineRecognizer(
        _TappedSession(bundle, taps, watcher),
        bundle.symbols,
        features=manifest.features,
        tail_padding_frames=manifest.tail_padding_frames,
        chunk_ms=_CHUNK_MS if manifest.geometry.dynamic else None,
    )
    return recognizer, watcher


def _check(recordings: Sequence[Path], skipped: Mapping[str, str], total: float) -> None:
    if total < _MIN_TOTAL_SECONDS:
        reasons = "".join(f"\n    {path}: {reason}" for path, reason in list(skipped.items())[:10])
        raise DataError(
            f"{len(recordings) - len(skipped)} of {len(recordings)} recordings can be used for "
            f"calibration, {total:.1f} s in all; skipped:{reasons or ' none'}",
            fix="give speech at the model's own sampling rate, ideally a few minutes",
        )


def _check_ranges(
    bundle: OpenedBundle, blobs: Sequence[tuple[str, str]], absmax: Float32Array
) -> None:
    for (network, blob), value in zip(blobs, absmax.tolist(), strict=True):
        if not np.isfinite(value) or value == 0:
            raise BundleError(
                f"blob {blob} of the {network} reaches {value:g} at most, so it has no range",
                where=bundle.path,
                fix="run `calve verify` on the bundle; or keep the layer that reads it in fp16",
            )
