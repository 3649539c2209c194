"""Opens the recognizer of a bundle: step by step, or for whole utterances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, TypeAlias

from calve.bundles.bundle import Bundle
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.offline_recognizer import OfflineRecognizer
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.decoding.transcript import Transcript
from calve.errors import ConfigError
from calve.registry.catalog import default_decoding_method

__all__ = ["AnyRecognizer", "open_recognizer", "transcribe"]

AnyRecognizer: TypeAlias = OnlineRecognizer | OfflineRecognizer


def open_recognizer(
    bundle: Bundle,
    method: DecodingMethod | None = None,
    *,
    chunk_ms: int | None = None,
    num_threads: int = 1,
) -> AnyRecognizer:
    """Load a bundle to recognize what it is made for.

    Args:
      bundle: The bundle.
      method: The decoding method; the default one of the installation by default.
      chunk_ms: Milliseconds of audio per encoder step; the bundle's own by default.
      num_threads: CPU threads that the runtime may use.

    Raises:
      BundleError: if the networks cannot be loaded.
      ConfigError: if the bundle has no such chunk, or an option of the method is wrong.
      PluginError: if the runtime or the method is missing.
    """
    if bundle.manifest.streaming:
        return OnlineRecognizer.from_bundle(
            bundle, method, chunk_ms=chunk_ms, num_threads=num_threads
        )
    if chunk_ms is not None:
        raise ConfigError(
            "the bundle is for whole utterances and has no chunks",
            where=bundle.path,
            fix="leave the chunk length out",
        )
    return OfflineRecognizer.from_bundle(bundle, method, num_threads=num_threads)


def transcribe(
    bundle: str | PathLike[str] | Bundle,
    paths: Iterable[str | PathLike[str]],
    *,
    decoding_method: str | None = None,
    decoding_options: Mapping[str, Any] | None = None,
    chunk_ms: int | None = None,
    num_threads: int = 1,
) -> Iterator[Transcript]:
    """Transcribe recordings with a bundle, in order.

    A bundle that streams reads and decodes a recording block by block, however long it is.

    Args:
      bundle: The bundle or its directory.
      paths: Recordings of any sampling rate and channel count.
      decoding_method: Name of the decoding method; the default one of the installation by default.
      decoding_options: Its options by name.
      chunk_ms: Milliseconds of audio per encoder step; the bundle's own by default.
      num_threads: CPU threads that the runtime may use.

    Raises:
      BundleError: if the bundle is missing, foreign or damaged.
      ConfigError: if the bundle has no such chunk, or an option of the method is wrong.
      PluginError: if the runtime or the method is missing.
      AudioError: if a recording cannot be read, when its turn comes.
      DataError: if the networks answer with NaN, when its turn comes.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    method = DecodingMethod(decoding_method or default_decoding_method(), decoding_options or {})
    recognizer = open_recognizer(opened, method, chunk_ms=chunk_ms, num_threads=num_threads)
    return map(recognizer.transcribe, paths)
