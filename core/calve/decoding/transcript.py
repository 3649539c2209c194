"""Transcripts: words with times in seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from calve.data.geometry import StreamingGeometry
from calve.data.tokens import SymbolTable
from calve.protocols import Hypothesis

__all__ = ["Recognition", "Transcript", "recognition"]


@dataclass(frozen=True)
class Recognition:
    """The result of one stream so far.

    Attributes:
      text: The words; with a decoding graph that has words, the words of the graph.
      tokens: Symbols, blank excluded.
      timestamps: Seconds from the start of the stream at which each symbol was emitted.
      word_timestamps: The same for each word: the time of its first symbol or, with a graph, the
        time at which the graph emits it.
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
    """The result of one recording.

    Attributes:
      path: The recording.
      duration: Seconds of the recording.
      rtf: Seconds of decoding per second of audio; reading the file and loading the model are not
        counted.
      notes: Changes made while the recording was read.
    """

    path: str
    duration: float
    rtf: float
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        found: Recognition,
        path: str,
        duration: float,
        seconds: float,
        notes: tuple[str, ...] = (),
    ) -> Transcript:
        """Create the transcript of a recording from its duration and the seconds of decoding."""
        rtf = seconds / duration if duration else 0.0
        return cls(**vars(found), path=path, duration=duration, rtf=rtf, notes=notes)

    def to_json(self) -> dict[str, Any]:
        """Return the stable keys of ``calve transcribe --json``."""
        return {
            "path": self.path,
            "text": self.text,
            "words": list(self.words),
            "word_timestamps": list(self.word_timestamps),
            "tokens": list(self.tokens),
            "timestamps": list(self.timestamps),
            "duration": self.duration,
            "rtf": self.rtf,
            "notes": list(self.notes),
        }


def recognition(
    hypothesis: Hypothesis, symbols: SymbolTable, geometry: StreamingGeometry
) -> Recognition:
    """Convert a hypothesis to words and seconds."""
    tokens = tuple(symbols[token] for token in hypothesis.tokens)
    if hypothesis.words:
        text, word_frames = " ".join(hypothesis.words), hypothesis.word_timestamps
    else:
        text = symbols.text(hypothesis.tokens)
        starts = symbols.word_starts(hypothesis.tokens)
        word_frames = [hypothesis.timestamps[start] for start in starts]
    return Recognition(
        text,
        tokens,
        timestamps=_seconds(hypothesis.timestamps, geometry),
        word_timestamps=_seconds(word_frames, geometry),
    )


def _seconds(frames: Iterable[int], geometry: StreamingGeometry) -> tuple[float, ...]:
    return tuple(frame * geometry.frame_ms / 1000 for frame in frames)
