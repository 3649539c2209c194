"""Models and recordings for the real clients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def talkative_checkpoint(
    goldens: Path, golden_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The golden model with the sharpened decoder and joiner, which say many different symbols."""
    weights = torch.load(golden_checkpoint, weights_only=True)["model"]
    stored = torch.load(goldens / "lstm_transducer_stateless2.decoding.pt", weights_only=True)
    path = tmp_path_factory.mktemp("talkative") / "pretrained.pt"
    torch.save({"model": weights | stored["state_dict"]}, path)
    return path


@pytest.fixture(scope="session")
def demo_recordings() -> list[Path]:
    """The synthetic recordings of digits that come with the recipes."""
    digits = Path(__file__).parents[2] / "plugins" / "calve_transducer" / "digits"
    found = sorted(digits.rglob("*.wav"))
    assert len(found) >= 8
    return found


@pytest.fixture(scope="session")
def real_recordings(shared_data: Path) -> list[Path]:
    """Real speech, one long sentence and some digits."""
    paths = sorted(shared_data.glob("librispeech_sample/*.wav"))
    paths += sorted(shared_data.glob("fsdd/recordings/*_0.wav"))[::6]
    assert len(paths) >= 10
    return paths
