"""From a bundle to text: step by step, or in whole utterances, as the bundle is made for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, TypeAlias

from calve.bundles.bundle import Bundle
from calve.decoding.decoding_methods import GREEDY, DecodingMethod
from calve.decoding.offline import OfflineRecognizer
from calve.decoding.search import DEFAULT_DECODING_METHOD
from calve.decoding.transcription import OnlineRecognizer, Transcript
from calve.errors import ConfigError

__all__ = ["AnyRecognizer", "open_recognizer", "transcribe"]

AnyRecognizer: TypeAlias = OnlineRecognizer | OfflineRecognizer


def open_recognizer(
    bundle: Bundle,
    method: DecodingMethod = GREEDY,
    *,
    chunk_ms: int | None = None,
    num_threads: int = 1,
) -> AnyRecognizer:
    """Load a bundle to recognize what it is made for.

    Args:
      bundle: The bundle.
      method: The decoding method.
      chunk_ms: Milliseconds of audio per encoder step; the bundle's own by default.
      num_threads: CPU threads that the runtime may use.

    Raises:
      BundleError: if the networks cannot be loaded.
      ConfigError: if the bundle has no such chunk, or an option of the method is wrong.
      PluginError: if the runtime or the method is missing.
    """
    if bundle.manifest.streaming:
        return OnlineRecognizer.from_bundle(
            bundle,
            chunk_ms=chunk_ms,
            num_threads=num_threads,
            search=method.name,
            search_options=dict(method.options),
        )
    if chunk_ms is not None:
        raise ConfigError(
            "the bundle is for whole utterances and has no chunks",
            where=bundle.path,
            fix="leave the chunk length out",
        )
    session = bundle.open_offline_session(num_threads=num_threads)
    return OfflineRecognizer(session, bundle.symbols, method)


def transcribe(
    bundle: str | PathLike[str] | Bundle,
    paths: Iterable[str | PathLike[str]],
    *,
    chunk_ms: int | None = None,
    num_threads: int = 1,
    search: str = DEFAULT_DECODING_METHOD,
    search_options: Mapping[str, Any] | None = None,
) -> Iterator[Transcript]:
    """Transcribe recordings with a bundle, in order.

    Args:
      bundle: The bundle or its directory.
      paths: Recordings of any sampling rate and channel count.
      chunk_ms: Milliseconds of audio per encoder step; the bundle's own by default.
      num_threads: CPU threads that the runtime may use.
      search: Name of the decoding method.
      search_options: Its options.

    Raises:
      BundleError: if the bundle is missing, foreign or damaged.
      AudioError: if a recording cannot be read, when its turn comes.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    method = DecodingMethod(search, search_options or {})
    recognizer = open_recognizer(opened, method, chunk_ms=chunk_ms, num_threads=num_threads)
    return map(recognizer.transcribe, paths)
