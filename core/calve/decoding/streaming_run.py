"""Results and timing of a run with many streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from calve.decoding.decoded import Decoded

__all__ = ["StreamingRun"]


@dataclass
class StreamingRun:
    """What became of some utterances, and how long it took.

    Attributes:
      decoded: Texts and failures.
      endpoints: How often each rule ended an utterance within a recording.
      step_seconds: Time of every step of all streams together, encoder and search.
      step_streams: Streams in each step.
      busy_seconds: Time of all steps, and of states that come and go between them; of the slowest
        group where there are several.
      audio_seconds: Of the recordings that were decoded.
      feature_seconds: Time that reading and computing features took, not counted in the steps.
    """

    decoded: Decoded = field(default_factory=Decoded)
    endpoints: Counter[int] = field(default_factory=Counter)
    step_seconds: list[float] = field(default_factory=list)
    step_streams: list[int] = field(default_factory=list)
    busy_seconds: float = 0.0
    audio_seconds: float = 0.0
    feature_seconds: float = 0.0

    @classmethod
    def of_groups(cls, runs: Sequence[StreamingRun]) -> StreamingRun:
        """What groups of streams that ran at the same time did together."""
        return cls(
            Decoded(
                [utterance for run in runs for utterance in run.decoded.utterances],
                [failure for run in runs for failure in run.decoded.failures],
            ),
            sum((run.endpoints for run in runs), Counter()),
            [seconds for run in runs for seconds in run.step_seconds],
            [streams for run in runs for streams in run.step_streams],
            busy_seconds=max(run.busy_seconds for run in runs),
            audio_seconds=sum(run.audio_seconds for run in runs),
            feature_seconds=sum(run.feature_seconds for run in runs),
        )

    @property
    def throughput(self) -> float | None:
        """Seconds of audio decoded per second; None if there was nothing to do."""
        return self.audio_seconds / self.busy_seconds if self.busy_seconds else None

    def latency_ms(self, *percentiles: float) -> list[float]:
        """How long a chunk waits for its result, in milliseconds, over the chunks of all streams.

        Raises:
          ValueError: if there was no step.
        """
        each_chunk = np.repeat(self.step_seconds, self.step_streams)
        found: list[float] = (1000 * np.percentile(each_chunk, percentiles)).tolist()
        return found
