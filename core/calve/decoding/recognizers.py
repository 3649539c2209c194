"""Recognizers from bundles and checkpoints, streaming or for whole utterances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, TypeAlias

from calve.bundles.bundle import Bundle
from calve.common.trust import trusting
from calve.data.geometry import StreamingGeometry
from calve.decoding.bundle_model import BundleModel
from calve.decoding.checkpoint_model import CheckpointModel
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.offline_recognizer import OfflineRecognizer
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.decoding.opened_model import OpenedModel
from calve.decoding.transcript import Transcript
from calve.errors import AudioError, CalveError, ConfigError, DataError
from calve.protocols import LiveSession
from calve.protocols.states import streaming_obstacle
from calve.registry.defaults import default_decoding_method

__all__ = [
    "AnyRecognizer",
    "LoadedRecognizer",
    "Mode",
    "load_recognizer",
    "transcribe",
    "transcribe_each",
]

AnyRecognizer: TypeAlias = OnlineRecognizer | OfflineRecognizer

Mode: TypeAlias = Literal["streaming", "offline", "simulated streaming"]
"""Mode of the encoder: step by step, whole utterances, or masked as in streaming."""


@dataclass(frozen=True)
class LoadedRecognizer:
    """A recognizer with warnings and notes for the user.

    Attributes:
      recognizer: The recognizer, ready to transcribe.
      warnings: Differences from the setups that the model was trained for.
      notes: Choices that were made because the alternative is impossible.
    """

    recognizer: AnyRecognizer
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def load_recognizer(
    model: BundleModel | CheckpointModel,
    method: DecodingMethod | None = None,
    *,
    mode: Mode | None = None,
    chunk_ms: int | None = None,
    chunk_size: int | None = None,
    strict: bool = False,
) -> LoadedRecognizer:
    """Load a model to recognize recordings.

    Args:
      model: A bundle on the runtime of its format, or a checkpoint on the runtime of its family.
      method: The decoding method; by default that of the installation.
      mode: Mode of the encoder. By default, a bundle runs in the mode of its export, and a
        checkpoint streams if its encoder can.
      chunk_ms: Milliseconds of audio per encoder step; the model's own by default.
      chunk_size: The same in encoder frames; give one of them.
      strict: Whether to reject chunks that the model was not trained for, instead of warning.

    Raises:
      BundleError, CheckpointError, TokensError: if the model cannot be loaded.
      ConfigError: if the model does not support the mode, or an option of the method is invalid.
      PluginError: if the runtime or the method is missing.
    """
    chunk = _Chunk(chunk_ms, chunk_size)
    if isinstance(model, BundleModel):
        return _of_bundle(model, method, mode, chunk, strict=strict)
    return _of_checkpoint(model, method, mode, chunk, strict=strict)


def transcribe(
    bundle: str | PathLike[str] | Bundle,
    paths: Iterable[str | PathLike[str]],
    *,
    decoding_method: str | None = None,
    decoding_options: Mapping[str, Any] | None = None,
    chunk_ms: int | None = None,
    num_threads: int = 1,
    trust: bool = False,
) -> Iterator[Transcript]:
    """Transcribe recordings with a bundle, in order.

    A streaming bundle reads and decodes recordings block by block, for any length.

    Args:
      bundle: The bundle or its directory.
      paths: Recordings of any sampling rate and channel count.
      decoding_method: Name of the decoding method; by default that of the installation.
      decoding_options: Its options by name.
      chunk_ms: Milliseconds of audio per encoder step; the bundle's own by default.
      num_threads: CPU threads that the runtime may use.
      trust: Whether to load the networks without a trial run in a child process, and TorchScript
        without reading first what its code does.

    Raises:
      BundleError: if the bundle is missing, foreign or damaged, or its networks fail in the trial.
      ConfigError: if the bundle has no such chunk, or an option of the method is wrong.
      PluginError: if the runtime or the method is missing.
      AudioError: if a recording cannot be read, when its turn comes.
      DataError: if the networks return NaN, when the recording's turn comes.
    """
    model = BundleModel(Path(bundle.path if isinstance(bundle, Bundle) else bundle), num_threads)
    method = DecodingMethod(decoding_method or default_decoding_method(), decoding_options or {})
    with trusting(trust):
        recognizer = load_recognizer(model, method, chunk_ms=chunk_ms).recognizer
    return map(recognizer.transcribe, paths)


def transcribe_each(
    recognizer: AnyRecognizer, paths: Iterable[str | PathLike[str]]
) -> Iterator[Transcript | CalveError]:
    """Transcribe recordings in order; one that fails does not end the others.

    Yields:
      The transcript of each recording, or an error that names the recording.
    """
    for path in paths:
        try:
            yield recognizer.transcribe(path)
        except AudioError as error:
            yield error
        except DataError as error:  # The outputs of the networks are NaN.
            where = ", ".join(filter(None, (fspath(path), error.where)))
            yield DataError(error.what, where=where, fix=error.fix)


@dataclass(frozen=True)
class _Chunk:
    """The requested length of a step in one of two units; the model's own if both are None."""

    milliseconds: int | None
    frames: int | None

    def __post_init__(self) -> None:
        if self.milliseconds is not None and self.frames is not None:
            raise ConfigError("chunk_ms and chunk_size exclude one another")

    @property
    def given(self) -> bool:
        return self.milliseconds is not None or self.frames is not None

    def of(self, geometry: StreamingGeometry) -> StreamingGeometry:
        """Return the geometry with steps of this length.

        Raises:
          ConfigError: if the encoder has no such step.
        """
        if self.milliseconds is not None:
            return geometry.with_chunk_ms(self.milliseconds)
        return geometry.with_chunk_size(self.frames)


def _of_bundle(
    model: BundleModel,
    method: DecodingMethod | None,
    mode: Mode | None,
    chunk: _Chunk,
    *,
    strict: bool,
) -> LoadedRecognizer:
    own: Mode = "streaming" if model.streaming else "offline"
    if mode not in (None, own):
        raise ConfigError(
            f"a bundle is what it was exported as, and this one is for {own} recognition",
            where=model.path,
            fix="leave the mode out, or export the checkpoint again",
        )
    if own == "streaming":
        return _streaming(model.open(), method, chunk, strict=strict)
    if chunk.given:
        raise ConfigError(
            "the bundle is for whole utterances and has no chunks",
            where=model.path,
            fix="leave the chunk length out",
        )
    opened = model.open_offline()
    return LoadedRecognizer(
        OfflineRecognizer(opened.session, opened.symbols, method, features=opened.features)
    )


def _of_checkpoint(
    model: CheckpointModel,
    method: DecodingMethod | None,
    mode: Mode | None,
    chunk: _Chunk,
    *,
    strict: bool,
) -> LoadedRecognizer:
    if mode == "offline" and chunk.given:
        raise ConfigError("whole utterances have no chunks", fix="leave the chunk length out")
    opened = model.open()
    model.release()  # The session has its own copy.
    if mode == "offline":
        return LoadedRecognizer(_offline(opened, method))
    if mode == "simulated streaming":
        opened.session.geometry = chunk.of(opened.session.geometry)
        warnings = opened.setup(opened.session.geometry).warnings(strict=strict)
        return LoadedRecognizer(_offline(opened, method, simulate_streaming=True), warnings)
    obstacle = streaming_obstacle(opened.session)
    if obstacle is None:
        return _streaming(opened, method, chunk, strict=strict)
    if mode == "streaming" or chunk.given:
        raise obstacle
    note = f"whole utterances, not streaming: {obstacle}"
    return LoadedRecognizer(_offline(opened, method), notes=(note,))


def _streaming(
    opened: OpenedModel[Any], method: DecodingMethod | None, chunk: _Chunk, *, strict: bool
) -> LoadedRecognizer:
    recognizer = OnlineRecognizer(
        opened.session,
        opened.symbols,
        method,
        features=opened.features,
        tail_padding_frames=opened.tail_padding_frames,
        chunk_ms=chunk.of(opened.session.geometry).chunk_ms,
    )
    warnings = opened.setup(recognizer.geometry).warnings(strict=strict)
    return LoadedRecognizer(recognizer, warnings)


def _offline(
    opened: OpenedModel[LiveSession],
    method: DecodingMethod | None,
    *,
    simulate_streaming: bool = False,
) -> OfflineRecognizer:
    return OfflineRecognizer(
        opened.session,
        opened.symbols,
        method,
        features=opened.features,
        simulate_streaming=simulate_streaming,
        tail_padding_frames=opened.tail_padding_frames,
    )
