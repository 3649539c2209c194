"""Decoding of many parallel streams, chunk by chunk, as in a server."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.common.progress import NO_PROGRESS, Progress
from calve.data.features import FeatureConfig, compute_fbank, silent_frame, silent_tail
from calve.data.geometry import StreamingGeometry, tail_padding
from calve.data.tokens import SymbolTable
from calve.data.utterances import Utterance, load_each
from calve.decoding.encoder_views import stack_features
from calve.decoding.endpointing import EndpointRules
from calve.decoding.streaming_run import StreamingRun
from calve.errors import CalveError, DataError
from calve.protocols import Hypothesis, Search, StreamingSession

__all__ = ["StreamDecoder", "StreamSearch"]

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class StreamSearch:
    """A decoding method on a session, with endpoint rules; several share one encoder.

    Attributes:
      search: The decoding method.
      endpoints: Rules that cut a stream into utterances; None to leave it whole.
      stream_options: Options per stream, as in `calve.api.DecodingMethodSpec`.
    """

    search: Search
    endpoints: EndpointRules | None = None
    stream_options: tuple[str, ...] = ()

    def start(self, reference: str, context: Sequence[int] = ()) -> Any:
        """Return the search's state for a stream with a reference, after some symbols."""
        told = {"ref_text": reference, "context": context}
        return self.search.start(
            **{name: value for name, value in told.items() if name in self.stream_options}
        )


class StreamDecoder:
    """Decodes recordings as streams of one batch; when one ends, the next starts.

    Silence is appended to each recording, so that its last words are recognized. Silent frames
    complete the last segment of a stream; the encoder's output for them is dropped. The result
    equals that of `calve.decoding.online_stream.OnlineStream`.

    Args:
      session: The networks.
      symbols: Their symbol table.
      searches: The decoding methods, by key.
      num_streams: Largest number of parallel streams.
      features: The features that the model was trained on.
      geometry: Steps of the encoder; by default the session's own geometry.
      tail_padding_frames: Silent frames after a recording; derived from the geometry by default.
    """

    def __init__(
        self,
        session: StreamingSession,
        symbols: SymbolTable,
        searches: Mapping[str, StreamSearch],
        *,
        num_streams: int = 1,
        features: FeatureConfig | None = None,
        geometry: StreamingGeometry | None = None,
        tail_padding_frames: int | None = None,
    ) -> None:
        self._session = session
        self._symbols = symbols
        self._searches = searches
        self._num_streams = num_streams
        self._features = features or FeatureConfig(num_mel_bins=session.feature_dim)
        self._geometry = geometry or session.geometry
        if tail_padding_frames is None:
            tail_padding_frames = tail_padding(session.geometry)
        self._tail = silent_tail(tail_padding_frames, self._features)
        self._silence = silent_frame(self._features)

    def decode(
        self, utterances: Iterable[Utterance], progress: Progress = NO_PROGRESS
    ) -> dict[str, StreamingRun]:
        """Decode utterances; one that cannot be read or decoded does not stop the others.

        Args:
          utterances: The utterances, in the order in which they start.
          progress: Advanced by one for each utterance.

        Returns:
          A run for each search, by its key.
        """
        self._warm_up()
        runs = {key: StreamingRun() for key in self._searches}
        waiting = self._streams(iter(utterances), runs, progress)
        active: list[_Stream] = []
        states: Any = None
        while True:
            entering = list(islice(waiting, self._num_streams - len(active)))
            if entering:
                with _busy(runs):
                    fresh = self._session.init_states(len(entering))
                    states = self._session.join_states([states, fresh]) if active else fresh
                active.extend(entering)
            if not active:
                return runs
            states = self._step(active, states, runs)
            staying = [row for row, stream in enumerate(active) if not stream.ended]
            if len(staying) < len(active):
                progress.advance(len(active) - len(staying))
                self._finish([stream for stream in active if stream.ended], runs)
                with _busy(runs):
                    states = self._session.select_states(states, staying) if staying else None
                active = [active[row] for row in staying]

    def _warm_up(self) -> None:
        """Take a step on silence, so that the measured steps do not include compilation."""
        silence = np.repeat(self._silence, self._session.geometry.segment, axis=0)
        frames, _ = self._session.encode_chunk(silence[None], self._session.init_states(1))
        for one in self._searches.values():
            with suppress(CalveError):  # The error is reported with each utterance that it affects.
                one.search.advance([one.start("")], [frames[0]])

    def _streams(
        self,
        utterances: Iterator[Utterance],
        runs: Mapping[str, StreamingRun],
        progress: Progress,
    ) -> Iterator[_Stream]:
        """Yield streams of the readable utterances; the others become failures."""
        for utterance in utterances:
            started = time.perf_counter()
            loaded, failures = load_each([utterance], self._read)
            seconds = time.perf_counter() - started
            for run in runs.values():
                run.feature_seconds += seconds
                run.decoded.failures.extend(failures)
            progress.advance(len(failures))
            for _, features in loaded:
                yield _Stream(
                    utterance,
                    features,
                    frames_left=self._geometry.frames_in(len(features)),
                    found={
                        key: _Found(one, utterance.text or "")
                        for key, one in self._searches.items()
                    },
                )

    def _read(self, utterance: Utterance) -> Float32Array:
        samples = utterance.audio(self._features.sample_rate).samples
        return compute_fbank(np.concatenate([samples, self._tail]), self._features)

    def _step(
        self, active: Sequence[_Stream], states: Any, runs: Mapping[str, StreamingRun]
    ) -> Any:
        """Run one segment of every stream through the encoder and all searches."""
        segment, shift = self._geometry.segment, self._geometry.shift
        started = time.perf_counter()
        segments = stack_features(
            [stream.take(segment, shift) for stream in active], segment, self._silence
        )
        encoder_out, states = self._session.encode_chunk(segments, states)
        frames = [
            rows[: stream.use(self._geometry.output_frames)]
            for stream, rows in zip(active, encoder_out, strict=True)
        ]
        encode_seconds = time.perf_counter() - started
        healthy = [row for row, rows in enumerate(frames) if np.isfinite(rows).all()]
        for row in set(range(len(active))) - set(healthy):
            active[row].failed = True
        streams = [active[row] for row in healthy]
        frames = [frames[row] for row in healthy]
        for key, run in runs.items():
            started = time.perf_counter()
            if streams:
                self._search(key, streams, frames, run)
            run.step_seconds.append(encode_seconds + time.perf_counter() - started)
            run.busy_seconds += run.step_seconds[-1]
            run.step_streams.append(len(active))
        return states

    def _search(
        self,
        key: str,
        streams: Sequence[_Stream],
        frames: Sequence[Float32Array],
        run: StreamingRun,
    ) -> None:
        found = [stream.found[key] for stream in streams]
        pairs = [pair for pair in zip(found, frames, strict=True) if pair[0].error is None]
        _advance(self._searches[key].search, pairs)
        for one, rows in pairs:
            if one.error is not None:
                continue
            rule = one.consumed(len(rows), self._geometry.frame_ms / 1000)
            if rule is not None:
                run.endpoints[rule] += 1

    def _finish(self, ended: Iterable[_Stream], runs: Mapping[str, StreamingRun]) -> None:
        for stream in ended:
            for key, run in runs.items():
                found = stream.found[key]
                outcome = (
                    DataError("the outputs of the encoder are NaN or infinite")
                    if stream.failed
                    else found.error or found.finish()
                )
                if isinstance(outcome, Hypothesis):
                    run.audio_seconds += stream.utterance.duration
                run.decoded.add(stream.utterance, outcome, self._symbols, self._geometry)


def _advance(search: Search, pairs: Sequence[tuple[_Found, Float32Array]]) -> None:
    """Search the frames of some streams; if that fails, search each stream alone."""
    if not pairs:
        return
    try:
        search.advance([found.stream for found, _ in pairs], [rows for _, rows in pairs])
    except CalveError as error:
        if len(pairs) == 1:
            pairs[0][0].error = error
            return
        for pair in pairs:
            _advance(search, [pair])


@contextmanager
def _busy(runs: Mapping[str, StreamingRun]) -> Iterator[None]:
    """Count the time of the work that all runs share."""
    started = time.perf_counter()
    yield
    for run in runs.values():
        run.busy_seconds += time.perf_counter() - started


class _Found:
    """Result of one search in one stream: its finished utterances, and the current one.

    Attributes:
      stream: The search's state.
      error: The error that ended the search; None if there is none.
    """

    def __init__(self, method: StreamSearch, reference: str) -> None:
        self._method = method
        self._reference = reference
        self._finished = Hypothesis()
        self._start = 0
        self._frames = 0
        self.stream = method.start(reference)
        self.error: CalveError | None = None

    def consumed(self, frames: int, seconds_per_frame: float) -> int | None:
        """Count ``frames`` more as searched; return the rule that ended an utterance, if any."""
        self._frames += frames
        if self._method.endpoints is None:
            return None
        last = self._method.search.last_timestamp(self.stream)
        silent = None if last is None else self._frames - 1 - last
        rule = self._method.endpoints.rule(
            self._frames * seconds_per_frame,
            None if silent is None else silent * seconds_per_frame,
        )
        if rule is not None:
            self._keep_utterance()
            self.stream = self._method.start(self._reference, self._finished.tokens)
        return rule

    def finish(self) -> Hypothesis:
        """End the stream; return the whole result, with timestamps from the start."""
        self._keep_utterance()
        return self._finished

    def _keep_utterance(self) -> None:
        """Append the result since the last endpoint; earlier results are not copied."""
        last, kept = self._method.search.result(self.stream), self._finished
        kept.tokens.extend(last.tokens)
        kept.timestamps.extend(self._start + frame for frame in last.timestamps)
        kept.score += last.score
        kept.words.extend(last.words)
        kept.word_timestamps.extend(self._start + frame for frame in last.word_timestamps)
        self._start += self._frames
        self._frames = 0


@dataclass
class _Stream:
    """One recording that is being decoded.

    Attributes:
      features: (T, C), the unread features and the overlap.
      frames_left: Encoder frames still to come.
      found: The result of each search.
      failed: Whether the encoder failed on it.
    """

    utterance: Utterance
    features: Float32Array
    frames_left: int
    found: dict[str, _Found]
    failed: bool = False

    @property
    def ended(self) -> bool:
        lost = self.failed or all(one.error is not None for one in self.found.values())
        return lost or self.frames_left == 0

    def take(self, segment: int, shift: int) -> Float32Array:
        """Return the next segment, which is shorter at the end."""
        taken = self.features[:segment]
        self.features = self.features[shift:]
        return taken

    def use(self, frames: int) -> int:
        """Return how many of the ``frames`` of a step belong to the recording."""
        used = min(frames, self.frames_left)
        self.frames_left -= used
        return used
