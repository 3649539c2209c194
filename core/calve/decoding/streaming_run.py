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
    """Results and timing of some utterances.

    Attributes:
      decoded: Texts and failures.
      endpoints: Number of utterances that each rule ended within a recording.
      step_seconds: Time of each step of all streams together, encoder and search.
      step_streams: Number of streams in each step.
      busy_seconds: Time of all steps and of state changes between them; of the slowest group if
        there are several.
      audio_seconds: Length of the decoded recordings.
      feature_seconds: Time of reading and feature extraction, which the steps do not include.
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
        """Combine the runs of groups of streams that ran at the same time."""
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
        """Seconds of audio decoded per second; None if nothing was decoded."""
        return self.audio_seconds / self.busy_seconds if self.busy_seconds else None

    def latency_ms(self, *percentiles: float) -> list[float]:
        """Return the latency of chunks in milliseconds, over the chunks of all streams.

        Raises:
          ValueError: if there was no step.
        """
        each_chunk = np.repeat(self.step_seconds, self.step_streams)
        found: list[float] = (1000 * np.percentile(each_chunk, percentiles)).tolist()
        return found
