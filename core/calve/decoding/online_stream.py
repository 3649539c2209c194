"""Recognition of one stream of audio, step by step as the audio arrives."""

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
    """Transcribes one stream while its audio arrives.

    The encoder processes whole segments, so that the result does not depend on how the audio is
    divided into pieces. At the end, silence is appended so that the last words are recognized. If
    the network accepts any length, the last step reads only the remaining frames. Otherwise silent
    frames complete it, and the encoder's output for them is dropped. The result of an exact encoder
    therefore does not depend on the chunk length either.

    The cost of a step does not depend on the length of the stream, unless that of the search does.
    `result` spells the whole text, so call it only when it is needed.

    Args:
      session: The networks.
      symbols: The model's symbol table.
      search: A search on this session; streams may share it.
      features: The features that the model was trained on; by default sherpa-ncnn's, with the
        session's dimension.
      geometry: Steps of the encoder; by default the session's own geometry.
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
        """Append audio and decode the segments that it completes.

        Args:
          samples: (n,) float32 at the rate of the feature configuration, full scale [-1, 1].

        Raises:
          AudioError: if the samples have a wrong shape or type, or the stream is finished.
          DataError: if the outputs of the networks are NaN.
        """
        self._fbank.accept(samples)
        self._heard_samples = self._heard_samples or len(samples) > 0
        self._encode_whole_segments()

    def finish(self) -> Recognition:
        """End the stream; return the final result."""
        if not self._finished:
            self._finished = True
            if self._heard_samples:
                self._fbank.accept(silent_tail(self._tail_padding_frames, self._features))
            self._fbank.finish()
            self._encode_whole_segments()
            self._encode_rest()
        return self.result()

    def result(self) -> Recognition:
        """Return the result so far."""
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
        """Return the input of the last step, which is shorter if the network accepts any length."""
        geometry = self._geometry
        if geometry.dynamic:
            return rest[: output_frames * geometry.subsampling_factor + geometry.overlap]
        padding = np.repeat(silent_frame(self._features), geometry.segment - len(rest), axis=0)
        return np.concatenate([rest, padding])

    def _step(self, segment: Float32Array, output_frames: int) -> None:
        encoder_out, self._states = self._session.encode_chunk(segment[None], self._states)
        self._search.advance([self._found], [encoder_out[0, :output_frames]])
