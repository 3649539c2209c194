"""The accuracy gate: compares error rates and keeps sensitive layers in fp16.

Layers are held back in the order of how much they cost alone. An empty answer to a recording that
has words in it is a failure of its own, however good the average is.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calve.api import DataError, ExportError
from calve.common.progress import Progress
from calve.data.recordings import Recording
from calve.protocols import VariantReport
from calve.protocols.bundles import OpenedBundle
from calve.services import Evaluation, evaluate, total_errors
from calve_ncnn.int8.plan import NetworkPlan
from calve_ncnn.int8.variants import weights_size, write_variant

__all__ = ["Judge", "find_passing"]

KEPT_BY_GATE = "kept by the accuracy gate: it costs the most"

TOKEN_MEASURE = "token error rate against the source bundle"


@dataclass(frozen=True)
class Judge:
    """Compares variants with the source bundle on some recordings.

    Attributes:
      source: The bundle that is quantized.
      recordings: What to recognize.
      references: What should be found, by recording.
      measure: "WER", or that tokens are compared with the source's.
      baseline: The source's own result.
      skipped: Why a recording could not be used, by its path.
    """

    source: OpenedBundle
    recordings: tuple[Recording, ...]
    references: Mapping[Path, str]
    measure: str
    baseline: VariantReport
    skipped: Mapping[str, str]
    jobs: int
    progress: Progress

    @classmethod
    def of(
        cls,
        source: OpenedBundle,
        name: str,
        recordings: Sequence[Recording],
        jobs: int,
        progress: Progress,
    ) -> Judge:
        """Evaluate the source bundle; ``name`` is what the tables call it.

        Raises:
          DataError: if no recording can be used, or nothing is found in any of them.
        """
        found = evaluate(
            source.path, recordings, jobs=jobs, title=f"recognize with {name}", progress=progress
        )
        if not found.texts:
            reason = next(iter(found.skipped.values()), "there is none")
            raise DataError(f"no recording can be evaluated: {reason}")
        if not any(found.texts.values()):
            raise DataError(
                f"the source bundle finds nothing in any of {len(found.texts)} recordings, so "
                "there is nothing to compare with",
                where=source.path,
                fix="evaluate on speech of the kind that the model was trained on",
            )
        words = {one.path: one.reference for one in recordings if one.reference is not None}
        is_wer = words.keys() >= found.texts.keys()
        measure = "WER" if is_wer else TOKEN_MEASURE
        references = words if is_wer else found.tokens
        return cls(
            source,
            tuple(recordings),
            references,
            measure,
            _report(name, source.path, found, references, is_wer),
            {str(path): reason for path, reason in found.skipped.items()},
            jobs,
            progress,
        )

    def variant(self, name: str, folder: Path, kept: Sequence[str] = ()) -> VariantReport:
        """Evaluate a variant of the source."""
        found = evaluate(
            folder,
            self.recordings,
            jobs=self.jobs,
            title=f"recognize with {name}",
            progress=self.progress,
        )
        report = _report(name, folder, found, self.references, self.measure == "WER")
        return replace(report, kept=tuple(kept))

    def increase(self, variant: VariantReport) -> float:
        """Percent by which its error rate exceeds the source's."""
        return (variant.error_rate or 0.0) - (self.baseline.error_rate or 0.0)

    def newly_empty(self, variant: VariantReport) -> list[str]:
        """Recordings in which the source found something and the variant nothing."""
        return sorted(set(variant.empty) - set(self.baseline.empty))

    def passes(self, variant: VariantReport, max_increase: float) -> bool:
        """Whether the variant is good enough."""
        return self.increase(variant) <= max_increase and not self.newly_empty(variant)


def find_passing(
    judge: Judge,
    plans: Sequence[NetworkPlan],
    ranking: Sequence[tuple[str, str]],
    max_increase: float,
    scratch: Path,
) -> tuple[list[NetworkPlan], VariantReport, list[VariantReport]]:
    """Hold back as few of the most sensitive layers as the gate asks for.

    Their number is doubled until the gate passes, then halved back as far as it still does.

    Args:
      judge: Knows the source's error rate.
      plans: What would be int8.
      ranking: (network, layer), the most sensitive first.
      max_increase: Percent by which the error rate may grow.
      scratch: Where variants may be written for a moment.

    Returns:
      The plans that pass, how they did, and every variant that was tried, in order of size.

    Raises:
      ExportError: if even the fp16 bundle does not pass.
    """
    tried: dict[int, VariantReport] = {}

    def held_back(count: int) -> list[NetworkPlan]:
        kept = ranking[:count]
        return [
            plan.without({layer for name, layer in kept if name == plan.network.name}, KEPT_BY_GATE)
            for plan in plans
        ]

    def passes(count: int) -> bool:
        kept = ["/".join(pair) for pair in ranking[:count]]
        name = f"int8, {count} in fp16" if count else "int8"
        folder = write_variant(judge.source, held_back(count), scratch / "tried")
        tried[count] = judge.variant(name, folder, kept)
        shutil.rmtree(folder)
        return judge.passes(tried[count], max_increase)

    low, high = -1, 0
    while not passes(high):
        if high == len(ranking):
            raise _hopeless(judge, tried[high], max_increase)
        low, high = high, min(max(1, 2 * high), len(ranking))
    while high - low > 1:
        middle = (low + high) // 2
        if passes(middle):
            high = middle
        else:
            low = middle
    frontier = sorted(tried.values(), key=lambda variant: variant.size)
    return held_back(high), tried[high], frontier


def _hopeless(judge: Judge, fp16: VariantReport, max_increase: float) -> ExportError:
    empty = judge.newly_empty(fp16)
    found = f"; it finds nothing in {', '.join(empty[:3])}" if empty else ""
    return ExportError(
        f"even with every layer in fp16 the {judge.measure} grows by {judge.increase(fp16):.2f} "
        f"percent, {max_increase:g} is allowed{found}",
        where=judge.source.path,
        fix="allow more, or evaluate on more recordings",
    )


def _report(
    name: str, folder: Path, found: Evaluation, references: Mapping[Path, str], words: bool
) -> VariantReport:
    texts = found.texts if words else found.tokens
    errors = total_errors((references[path], text) for path, text in texts.items())
    empty = [str(path) for path, text in texts.items() if references[path].strip() and not text]
    return VariantReport(
        name=name,
        size=weights_size(folder),
        error_rate=errors.wer,
        errors=errors.errors,
        reference_words=errors.reference_words,
        empty=tuple(empty),
        rtf=found.rtf,
    )
