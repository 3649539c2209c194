"""Verification of a finished bundle with its own runtime and the installed clients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike

import numpy as np

from calve.bundles.bundle import GOLDEN_FILE, Bundle
from calve.bundles.golden import Golden, pcm_samples
from calve.bundles.trial import try_bundle
from calve.common.exceptions import describe
from calve.common.files import scratch_folder
from calve.data.features import compute_fbank
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.errors import CalveError
from calve.exporting.golden import observe_again
from calve.exporting.parity import compare
from calve.registry.catalog import registry
from calve.registry.claims import claimed_clients
from calve.registry.specs import ClientSpec, ExporterSpec
from calve.scoring.error_rates import count_errors

__all__ = ["FAILED", "PASSED", "SKIPPED", "Check", "check_bundle", "check_client", "verify"]

_FEATURE_TOLERANCE = 1e-3
"""Largest difference of features. Rounding on different processors stays far below it."""

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
      name: Name of the check.
      outcome: "passed", "failed" or "skipped".
      detail: Details of the result.
    """

    name: str
    outcome: str
    detail: str


def verify(path: str | PathLike[str], *, num_threads: int = 1) -> Iterator[Check]:
    """Verify a bundle, check by check; needs neither torch nor the checkpoint.

    Raises:
      BundleError: if it cannot be opened; every other problem is a failed check.
    """
    bundle = Bundle.open(path)
    runs = True
    for check in check_bundle(bundle, num_threads=num_threads, trial=True):
        yield check
        if check.name in ("files", "golden") and check.outcome != PASSED:
            runs = False
    exporter = registry().exporters.get(bundle.manifest.format)
    claimed = claimed_clients(bundle.manifest.encoder, exporter.format)
    for client in exporter.clients:
        if not bundle.manifest.streaming:
            yield Check(client.name, SKIPPED, "it streams, and the bundle is for whole utterances")
        elif not runs:
            yield Check(client.name, SKIPPED, "the networks have changed or cannot be run")
        elif client in claimed:
            yield check_client(bundle, client, num_threads=num_threads)
        else:
            reason = f"it does not know the encoder {bundle.manifest.encoder!r}"
            yield Check(client.name, SKIPPED, reason)


def check_bundle(bundle: Bundle, *, num_threads: int = 1, trial: bool = False) -> Iterator[Check]:
    """Yield calve's own checks of a bundle, including those with its runtime.

    Args:
      bundle: An opened bundle.
      num_threads: Threads of the runtime.
      trial: Whether the networks are tried in a child process before they run in this one.
    """
    exporter = registry().exporters.get(bundle.manifest.format)
    files = _check("files", partial(_files, bundle))
    yield files
    yield _check("lint", partial(_lint, bundle, exporter))
    yield _check("features", partial(_features, bundle))
    if files.outcome == FAILED:
        yield Check("golden", SKIPPED, "the networks are not run because files have changed")
        return
    if trial:
        tried = _check("golden", partial(_trial, bundle, num_threads))
        if tried.outcome == FAILED:
            yield tried
            return
    yield _check("golden", partial(_golden, bundle, num_threads))


def check_client(bundle: Bundle, client: ClientSpec, *, num_threads: int = 1) -> Check:
    """Compare a client's result for the golden recording with calve's; skip missing clients."""
    if not client.is_installed:
        fix = f"not installed: pip install 'calve[{client.extra}]'"
        return Check(client.name, SKIPPED, fix)
    return _check(client.name, partial(_client, bundle, client, num_threads))


def _check(name: str, run: Callable[[], str]) -> Check:
    try:
        return Check(name, PASSED, run())
    except CalveError as error:
        return Check(name, FAILED, str(error))
    # Damaged files and plugins may fail in any way; the other checks continue.
    except Exception as error:
        return Check(name, FAILED, describe(error))


def _files(bundle: Bundle) -> str:
    bundle.verify_files()
    return f"{len(bundle.manifest.files)} files have the hashes they were exported with"


def _trial(bundle: Bundle, num_threads: int) -> str:
    try_bundle(bundle, num_threads=num_threads)
    return ""


def _lint(bundle: Bundle, exporter: ExporterSpec) -> str:
    findings = exporter.lint.load()(bundle.path, None)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise CalveError("\n".join(f"{one.where}: {one.what}; {one.fix}" for one in errors))
    return f"warnings: {len(findings)}" if findings else "nothing found"


def _features(bundle: Bundle) -> str:
    golden = _read_golden(bundle)
    features = compute_fbank(pcm_samples(golden.pcm), bundle.manifest.features)
    if features.shape != golden.features.shape:
        raise CalveError(f"features have the shape {features.shape}, not {golden.features.shape}")
    error = float(np.abs(features - golden.features).max())
    if not error <= _FEATURE_TOLERANCE:
        raise CalveError(f"features are off by {error:.1e}; {_FEATURE_TOLERANCE:.0e} is allowed")
    return f"max abs error {error:.1e} over {len(features)} frames"


def _golden(bundle: Bundle, num_threads: int) -> str:
    golden = _read_golden(bundle)
    session = bundle.open_session(num_threads=num_threads)
    observed = observe_again(golden, session, bundle.manifest.geometry)
    precision = str(bundle.manifest.parity["precision"])
    report = compare(golden.observation, observed, precision=precision)
    report.check()
    if not report.tokens_equal:
        raise CalveError(
            f"greedy search finds {list(report.tokens)}; when exported it found "
            f"{list(report.reference_tokens)}"
        )
    return (
        f"max abs error {report.max_abs_error:.1e} ({report.precision}) over "
        f"{observed.chunks} {observed.unit}, {len(report.tokens)} tokens equal"
    )


def _client(bundle: Bundle, client: ClientSpec, num_threads: int) -> str:
    golden = _read_golden(bundle)
    bundle = _ending_in_whole_steps(bundle, len(golden.features))
    with scratch_folder("calve-verify-") as folder:
        wav = folder / "golden.wav"
        golden.write_wav(wav)
        theirs = client.transcribe.load()(
            bundle.path, [wav], num_threads=num_threads, tail_seconds=bundle.tail_seconds
        )[0]
        ours = OnlineRecognizer.from_bundle(bundle, num_threads=num_threads).transcribe(wav)
    differences = count_errors(ours.text, theirs.text)
    silent = bool(ours.text) and not theirs.text.strip()
    if silent or differences.errors > _allowed_differences(bundle):
        raise CalveError(f"{client.name} hears {theirs.text!r}, calve hears {ours.text!r}")
    if differences.errors:
        return f"{differences.errors} of {differences.reference_words} words differ: {ours.text!r}"
    return f"hears the same: {ours.text!r}"


def _ending_in_whole_steps(bundle: Bundle, frames: int) -> Bundle:
    """Return the bundle with a tail after ``frames`` frames that ends shortly after a step.

    Clients drop an incomplete last segment, which calve decodes. They also differ in whether a
    segment may end with the last frame.
    """
    geometry, padding = bundle.manifest.geometry, bundle.manifest.tail_padding_frames
    steps = math.ceil((frames + padding - geometry.overlap) / geometry.shift)
    end = steps * geometry.shift + geometry.overlap + geometry.subsampling_factor // 2
    return Bundle(bundle.path, replace(bundle.manifest, tail_padding_frames=end - frames))


def _allowed_differences(bundle: Bundle) -> float:
    """Return the number of words in which a client may differ from calve's own runtime.

    In floating point no word may differ. Integer arithmetic of another build may round differently,
    so that one word may differ. If quantization itself changed the result, the scores are close and
    each symbol depends on the earlier ones; then only an empty result is an error.
    """
    if {*bundle.manifest.precision.values()} <= {"fp32", "fp16"}:
        return 0
    parity = bundle.manifest.parity
    return 1 if parity["tokens"] == parity["reference_tokens"] else math.inf


def _read_golden(bundle: Bundle) -> Golden:
    return Golden.read(bundle.path / GOLDEN_FILE)
