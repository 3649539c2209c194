"""The shipped streaming conformer on recordings whose words are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from calve.checkpoint import builtin_checkpoint
from calve.discovery import load_driver
from calve.exporting import model_symbols
from calve.models import load
from calve.scoring import total_errors
from calve.transcription import Recognizer

RECIPE = "pruned_transducer_stateless5"
CHECKPOINT = "builtin:digits-conformer"


def words_of(recordings: list[Path]) -> list[str]:
    lines = (recordings[0].parent / "transcripts.txt").read_text(encoding="utf-8").splitlines()
    references = dict(line.split("\t") for line in lines)
    return [references[path.name] for path in recordings]


@pytest.mark.parametrize("chunk", [8, 16, 32])
def test_it_understands_digits_at_any_chunk_size(demo_recordings: list[Path], chunk: int) -> None:
    loaded = load(RECIPE, CHECKPOINT, {"encoder": {"decode_chunk_size": chunk}})
    session = load_driver("calve.runtimes", "torch").open(loaded)
    recognizer = Recognizer(session, model_symbols(None, loaded))
    heard = [recognizer.transcribe(path).text for path in demo_recordings]
    assert total_errors(zip(words_of(demo_recordings), heard, strict=True)).wer <= 5.0


def test_it_is_small_enough_to_come_with_the_package() -> None:
    with builtin_checkpoint(CHECKPOINT) as (_, path):
        assert path.stat().st_size <= 8_000_000
