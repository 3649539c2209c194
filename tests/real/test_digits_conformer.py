"""The shipped streaming conformer on recordings whose words are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from calve.decoding.online_recognizer import OnlineRecognizer
from calve.exporting.export import export
from calve.models.checkpoints import builtin_checkpoint
from calve.models.loading import load
from calve.models.symbols import model_symbols
from calve.registry.discovery import load_driver
from calve.scoring.error_rates import total_errors

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
    recognizer = OnlineRecognizer(session, model_symbols(None, loaded))
    heard = [recognizer.transcribe(path).text for path in demo_recordings]
    assert total_errors(zip(words_of(demo_recordings), heard, strict=True)).wer <= 5.0


def test_its_ncnn_bundle_hears_the_words_that_torch_hears(
    demo_recordings: list[Path], tmp_path: Path
) -> None:
    loaded = load(RECIPE, CHECKPOINT)
    session = load_driver("calve.runtimes", "torch").open(loaded)
    in_torch = OnlineRecognizer(session, model_symbols(None, loaded))
    bundle = export(RECIPE, checkpoint=CHECKPOINT, output=tmp_path / "bundle", format="ncnn")
    in_ncnn = OnlineRecognizer.from_bundle(bundle)
    assert type(in_ncnn.session).__name__ == "NcnnSession"
    expected = [in_torch.transcribe(path) for path in demo_recordings]
    found = [in_ncnn.transcribe(path) for path in demo_recordings]
    assert [one.text for one in found] == [one.text for one in expected]
    assert [one.timestamps for one in found] == [one.timestamps for one in expected]
    assert all(one.text for one in found)


def test_it_is_small_enough_to_come_with_the_package() -> None:
    with builtin_checkpoint(CHECKPOINT) as (_, path):
        assert path.stat().st_size <= 8_000_000
