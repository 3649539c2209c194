"""One stream of audio, recognized step by step as the audio arrives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calve.data.features import FeatureConfig, StreamingFbank, silent_frame, silent_tail
from calve.data.geometry import StreamingGeometry, tail_padding
from calve.data.tokens import SymbolTable
from calve.decoding.transcript import Recognition, recognition
from calve.protocols import Search, StreamingSession

__all__ = ["OnlineStream"]

Float32Array = NDArray[np.float32]


class OnlineStream:
    """Transcribes one stream while its audio comes in.

    The encoder only ever sees whole segments, so the result does not depend on the size of the
    pieces that the audio comes in. At the end, silence brings out the last words. The last step
    reads only what is left, if the network takes any length; else as many silent frames as it
    needs complete it, and what the encoder makes of those is dropped. So the result does not depend
    on the chunk length of an exact encoder either.

    The cost of a step does not depend on how long the stream has lasted, if that of the search does
    not. `result` spells everything that has been found, so ask for it when it is needed.

    Args:
      session: The networks.
      symbols: The model's symbol table.
      search: A search on this session; streams may share it.
      features: What the networks were trained on; by default sherpa-ncnn's features, of the
        session's dimension.
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
        self._features = features or FeatureConfig(num_mel_bins=session.feature_dim)
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

    def accept(self, samples: Float32Array) -> None:
        """Append audio, and decode the segments that are complete with it.

        Args:
          samples: (n,) float32 at the rate of the feature configuration, full scale [-1, 1].

        Raises:
          AudioError: if the samples have a wrong shape or type, or the stream is finished.
          DataError: if the networks answer with NaN.
        """
        self._fbank.accept(samples)
        self._heard_samples = self._heard_samples or len(samples) > 0
        self._encode_whole_segments()

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
