"""From samples to text, chunk by chunk, on any runtime."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.bundles.bundle import Bundle
from calve.data.audio import Audio, read_audio
from calve.data.features import FeatureConfig, StreamingFbank, compute_fbank
from calve.data.geometry import StreamingGeometry, tail_padding
from calve.data.tokens import SymbolTable
from calve.decoding.search import DEFAULT_DECODING_METHOD, make_search
from calve.protocols import Hypothesis, Search, StreamingSession

__all__ = [
    "OnlineRecognizer",
    "OnlineStream",
    "Recognition",
    "Transcript",
    "recognition",
]

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class Recognition:
    """What has been recognized of one stream so far.

    Attributes:
      text: The words, those of the decoding graph if the method follows one that knows any.
      tokens: Symbols, blank excluded.
      timestamps: Seconds from the start of the stream at which each symbol was emitted.
      word_timestamps: The same of each word: when its first symbol was emitted or, with a graph,
        where the graph says it.
    """

    text: str
    tokens: tuple[str, ...]
    timestamps: tuple[float, ...]
    word_timestamps: tuple[float, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the text."""
        return tuple(self.text.split())


@dataclass(frozen=True)
class Transcript(Recognition):
    """What was recognized in one recording.

    Attributes:
      path: The recording.
      duration: Seconds of the recording.
      rtf: Seconds of decoding per second of audio; reading the file and loading the model are not
        counted.
      notes: What was changed while reading the recording.
    """

    path: str
    duration: float
    rtf: float
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: Recognition, audio: Audio, path: str, seconds: float) -> Transcript:
        """What was recognized in a recording within so many seconds."""
        return cls(
            **vars(found),
            path=path,
            duration=audio.duration,
            rtf=seconds / audio.duration if audio.duration else 0.0,
            notes=audio.notes,
        )

    def to_json(self) -> dict[str, Any]:
        """The stable keys of ``calve transcribe --json``."""
        return {
            "path": self.path,
            "text": self.text,
            "words": list(self.words),
            "word_timestamps": list(self.word_timestamps),
            "tokens": list(self.tokens),
            "timestamps": list(self.timestamps),
            "duration": self.duration,
            "rtf": self.rtf,
        }


class OnlineStream:
    """Transcribes one stream while its audio comes in.

    The encoder only ever sees whole segments, so the result does not depend on the size of the
    pieces that the audio comes in. At the end, silence brings out the last words. The last step
    reads only what is left, if the network takes any length; else as many silent frames as it
    needs complete it, and what the encoder makes of those is dropped. So the result does not depend
    on the chunk length of an exact encoder either.

    Args:
      session: The networks.
      symbols: The model's symbol table.
      search: A search on this session; streams may share it.
      features: What the networks were trained on.
      geometry: How to step; the session's own geometry by default.
      tail_padding_frames: Silent frames to append; derived from the geometry by default.
    """

    def __init__(
        self,
        session: StreamingSession,
        symbols: SymbolTable,
        search: Search,
        *,
        features: FeatureConfig | None = None,
        geometry: StreamingGeometry | None = None,
        tail_padding_frames: int | None = None,
    ) -> None:
        self._session = session
        self._symbols = symbols
        self._search = search
        self._features = features or FeatureConfig()
        self._geometry = geometry or session.geometry
        if tail_padding_frames is None:
            tail_padding_frames = tail_padding(session.geometry)
        self._tail_padding_frames = tail_padding_frames
        self._fbank = StreamingFbank(self._features)
        self._states = session.init_states()
        self._found = search.start()
        self._pending = np.empty((0, self._features.num_mel_bins), dtype=np.float32)
        self._heard_samples = False
        self._finished = False

    def accept(self, samples: Float32Array) -> Recognition:
        """Append audio.

        Args:
          samples: (n,) float32 at the rate of the feature configuration, full scale [-1, 1].

        Returns:
          What has been recognized so far.

        Raises:
          AudioError: if the samples have a wrong shape or type, or the stream is finished.
        """
        self._fbank.accept(samples)
        self._heard_samples = self._heard_samples or len(samples) > 0
        self._encode_whole_segments()
        return self.result()

    def finish(self) -> Recognition:
        """Say that no audio follows; returns the final result."""
        if not self._finished:
            self._finished = True
            if self._heard_samples:
                self._fbank.accept(silent_tail(self._tail_padding_frames, self._features))
            self._fbank.finish()
            self._encode_whole_segments()
            self._encode_rest()
        return self.result()

    def result(self) -> Recognition:
        """What has been recognized so far."""
        return recognition(self._search.result(self._found), self._symbols, self._geometry)

    def _encode_whole_segments(self) -> None:
        geometry = self._geometry
        while len(self._pending) + self._fbank.ready >= geometry.segment:
            new_frames = self._fbank.pop(geometry.segment - len(self._pending))
            segment = np.concatenate([self._pending, new_frames])
            self._step(segment, geometry.output_frames)
            self._pending = segment[geometry.shift :]

    def _encode_rest(self) -> None:
        geometry = self._geometry
        rest = np.concatenate([self._pending, self._fbank.frames()])
        output_frames = geometry.frames_in(len(rest))
        if output_frames > 0:
            self._step(self._last_segment(rest, output_frames), output_frames)

    def _last_segment(self, rest: Float32Array, output_frames: int) -> Float32Array:
        """What the last step reads: no more than it needs, if the network takes any length."""
        geometry = self._geometry
        if geometry.dynamic:
            return rest[: output_frames * geometry.subsampling_factor + geometry.overlap]
        padding = np.repeat(silent_frame(self._features), geometry.segment - len(rest), axis=0)
        return np.concatenate([rest, padding])

    def _step(self, segment: Float32Array, output_frames: int) -> None:
        encoder_out, self._states = self._session.encode_chunk(segment[None], self._states)
        self._search.advance([self._found], [encoder_out[0, :output_frames]])


class OnlineRecognizer:
    """Transcribes recordings, one after another, with one loaded model.

    Args:
      session: The networks.
      symbols: The model's symbol table.
      features: What the networks were trained on.
      tail_padding_frames: Silent frames to append; derived from the geometry by default.
      chunk_ms: Milliseconds of audio per encoder step; the model's own by default.
      search: Name of the decoding method.
      search_options: Its options.

    Raises:
      ConfigError: if the model cannot step ``chunk_ms`` at a time, or an option is wrong.
      PluginError: if no plugin provides the search.
    """

    def __init__(
        self,
        session: StreamingSession,
        symbols: SymbolTable,
        *,
        features: FeatureConfig | None = None,
        tail_padding_frames: int | None = None,
        chunk_ms: int | None = None,
        search: str = DEFAULT_DECODING_METHOD,
        search_options: dict[str, Any] | None = None,
    ) -> None:
        geometry = session.geometry
        self.session = session
        self.symbols = symbols
        self.features = features or FeatureConfig()
        self.geometry = geometry if chunk_ms is None else geometry.with_chunk_ms(chunk_ms)
        self._tail_padding_frames = tail_padding_frames
        self._search = make_search(search, session, symbols=symbols, **(search_options or {}))

    @classmethod
    def from_bundle(
        cls, bundle: Bundle, *, chunk_ms: int | None = None, num_threads: int = 1, **options: Any
    ) -> OnlineRecognizer:
        """Load a bundle's networks; ``options`` are those of the constructor."""
        return cls(
            bundle.open_streaming_session(num_threads=num_threads),
            bundle.symbols,
            features=bundle.manifest.features,
            tail_padding_frames=bundle.manifest.tail_padding_frames,
            chunk_ms=chunk_ms,
            **options,
        )

    def stream(self) -> OnlineStream:
        """A new stream on the loaded model."""
        return OnlineStream(
            self.session,
            self.symbols,
            self._search,
            features=self.features,
            geometry=self.geometry,
            tail_padding_frames=self._tail_padding_frames,
        )

    def transcribe(self, path: str | PathLike[str]) -> Transcript:
        """Transcribe one file.

        Raises:
          AudioError: if the recording cannot be read.
        """
        return self.transcribe_audio(read_audio(path, self.features.sample_rate), fspath(path))

    def transcribe_audio(self, audio: Audio, path: str = "") -> Transcript:
        """Transcribe samples in memory; ``path`` is what the transcript is labelled with."""
        started = time.perf_counter()
        stream = self.stream()
        stream.accept(audio.samples)
        recognized = stream.finish()
        return Transcript.of(recognized, audio, path, time.perf_counter() - started)


def silent_frame(config: FeatureConfig) -> Float32Array:
    """(1, C), the features of digital silence."""
    samples = round(config.frame_shift_ms * config.sample_rate / 1000)
    return compute_fbank(np.zeros(samples, dtype=np.float32), config)


def silent_tail(frames: int, config: FeatureConfig) -> Float32Array:
    """(n,) zero samples that last ``frames`` feature frames."""
    samples = round(frames * config.frame_shift_ms * config.sample_rate / 1000)
    return np.zeros(samples, dtype=np.float32)


def recognition(
    hypothesis: Hypothesis, symbols: SymbolTable, geometry: StreamingGeometry
) -> Recognition:
    """A hypothesis in words and seconds."""
    tokens = tuple(symbols[token] for token in hypothesis.tokens)
    if hypothesis.words:
        text, word_frames = " ".join(hypothesis.words), hypothesis.word_timestamps
    else:
        text = symbols.text(hypothesis.tokens)
        word_frames = [hypothesis.timestamps[start] for start in SymbolTable.word_starts(tokens)]
    return Recognition(
        text,
        tokens,
        timestamps=_seconds(hypothesis.timestamps, geometry),
        word_timestamps=_seconds(word_frames, geometry),
    )


def _seconds(frames: Iterable[int], geometry: StreamingGeometry) -> tuple[float, ...]:
    return tuple(frame * geometry.frame_ms / 1000 for frame in frames)
