from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

RECIPES = ("lstm_transducer_stateless2", "pruned_transducer_stateless5")


@pytest.fixture(scope="module", params=RECIPES)
def icefall(request: pytest.FixtureRequest, goldens: Path) -> dict[str, Any]:
    """Lexicon, G and LG that icefall and k2 made, as text and tensors."""
    torch = pytest.importorskip("torch")
    return torch.load(goldens / f"{request.param}.decoding.pt", weights_only=True)["LG"]


@pytest.fixture
def lang_dir(icefall: dict[str, Any], tmp_path: Path) -> Path:
    """A lang folder with icefall's tables, lexicon and ARPA file."""
    for name, text in (
        ("tokens.txt", icefall["tokens_txt"]),
        ("words.txt", icefall["words_txt"]),
        ("3-gram.arpa", icefall["arpa"]),
        ("lexicon.txt", "".join(f"{w} {' '.join(p)}\n" for w, p in icefall["lexicon"])),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path
