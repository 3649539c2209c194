"""Decoding of a corpus with the clients of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import soundfile

from calve.bundles.bundle import Bundle
from calve.common.files import scratch_folder
from calve.data.utterances import Utterance, load_each
from calve.decoding.decoded import Decoded
from calve.registry.specs import ClientSpec
from calve.scoring.error_rates import DecodedUtterance

__all__ = ["transcribe_with_client"]


def transcribe_with_client(
    client: ClientSpec, bundle: Bundle, utterances: Sequence[Utterance], *, num_threads: int = 1
) -> Decoded:
    """Transcribe utterances with a client, which runs the bundle in a child process.

    Raises:
      BundleError: if the client fails on the bundle.
    """
    sample_rate = bundle.manifest.features.sample_rate
    with scratch_folder("calve-decode-") as folder:
        numbers = count()

        def write(utterance: Utterance) -> Path:
            path = folder / f"{next(numbers)}.wav"
            audio = utterance.audio(sample_rate)
            soundfile.write(path, audio.samples, audio.sample_rate, subtype="PCM_16")
            return path

        written, failures = load_each(utterances, write)
        results = client.transcribe.load()(
            bundle.path,
            [path for _, path in written],
            num_threads=num_threads,
            tail_seconds=bundle.tail_seconds,
        )
    decoded = [
        DecodedUtterance(utterance.name, utterance.text or "", result.text.strip())
        for (utterance, _), result in zip(written, results, strict=True)
    ]
    return Decoded(decoded, failures)
