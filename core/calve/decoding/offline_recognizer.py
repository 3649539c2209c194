"""Transcription of recordings as whole utterances."""

from __future__ import annotations

import time
from contextlib import suppress
from os import PathLike, fspath

from calve.bundles.bundle import Bundle
from calve.data.audio import Audio, read_audio
from calve.data.features import FeatureConfig, silent_tail
from calve.data.tokens import SymbolTable
from calve.data.utterances import Utterance
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.encoder_views import SimulatedStreaming, WholeUtterances
from calve.decoding.offline_decoding import search_each
from calve.decoding.transcript import Transcript, recognition
from calve.errors import AudioError, CalveError
from calve.protocols import OfflineSession

__all__ = ["OfflineRecognizer"]


class OfflineRecognizer:
    """Transcribes each recording as a whole, as `decode_offline` does.

    Args:
      session: The networks.
      symbols: Their symbol table.
      method: The decoding method; by default that of the installation.
      features: The features that the model was trained on; by default sherpa-ncnn's, with the
        session's dimension.
      simulate_streaming: Whether attention is masked to the chunks of ``session.geometry``.
      tail_padding_frames: Silent frames after each recording in simulated streaming; derived from
        the geometry by default.

    Raises:
      ConfigError, PluginError: if the method cannot be used.
    """

    def __init__(
        self,
        session: OfflineSession,
        symbols: SymbolTable,
        method: DecodingMethod | None = None,
        *,
        features: FeatureConfig | None = None,
        simulate_streaming: bool = False,
        tail_padding_frames: int | None = None,
    ) -> None:
        self.features = features or FeatureConfig(num_mel_bins=session.feature_dim)
        self._view = (
            SimulatedStreaming(session, self.features, tail_padding_frames)
            if simulate_streaming
            else WholeUtterances(session, self.features)
        )
        chosen = method or DecodingMethod.default()
        self._search = chosen.search(session, symbols, self._view.initial_symbol)
        self._symbols = symbols
        self._geometry = session.geometry
        self._is_warm = False

    @classmethod
    def from_bundle(
        cls, bundle: Bundle, method: DecodingMethod | None = None, *, num_threads: int = 1
    ) -> OfflineRecognizer:
        """Load a bundle's networks, to run on ``num_threads`` CPU threads.

        Raises:
          BundleError: if the networks cannot be loaded, or the bundle streams.
          ConfigError, PluginError: as the constructor.
        """
        session = bundle.open_offline_session(num_threads=num_threads)
        return cls(session, bundle.symbols, method, features=bundle.manifest.features)

    def warm_up(self) -> None:
        """Recognize a second of silence, unless something was recognized already.

        On first use searches compile their loops and runtimes select theirs, which takes up to
        seconds. `transcribe` calls this before it measures.
        """
        if self._is_warm:
            return
        self._is_warm = True
        silence = silent_tail(round(1000 / self.features.frame_shift_ms), self.features)
        # `transcribe` reports the error with the name of the recording.
        with suppress(CalveError):
            audio = Audio(silence, self.features.sample_rate, duration=1.0)
            features = self._view.features(Utterance.of_audio("", audio))
            search_each(self._search, self._view.encode([features]), [{}])

    def transcribe(self, path: str | PathLike[str]) -> Transcript:
        """Transcribe one file.

        Raises:
          AudioError: if the recording cannot be read, or is shorter than a feature frame.
          DataError: if the outputs of the networks are NaN.
        """
        audio = read_audio(path, self.features.sample_rate)
        self.warm_up()
        started = time.perf_counter()
        try:
            features = self._view.features(Utterance.of_audio(fspath(path), audio))
        except AudioError as error:
            raise AudioError(error.what, where=path, fix=error.fix) from error
        (outcome,) = search_each(self._search, self._view.encode([features]), [{}])
        if isinstance(outcome, CalveError):
            raise outcome
        found = recognition(outcome, self._symbols, self._geometry)
        seconds = time.perf_counter() - started
        return Transcript.of(found, fspath(path), audio.duration, seconds, audio.notes)
