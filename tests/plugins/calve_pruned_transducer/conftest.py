"""The four recipes with icefall's numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from calve.models import load_model

RECIPES = tuple(f"pruned_transducer_stateless{number}" for number in ("", "2", "4", "5"))


@pytest.fixture(scope="session", params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def checkpoint(recipe: str, goldens: Path) -> Path:
    return goldens / f"{recipe}.ckpt.pt"


@pytest.fixture(scope="session")
def golden(recipe: str, goldens: Path) -> dict[str, Any]:
    return torch.load(goldens / f"{recipe}.encoder.pt", weights_only=True)


@pytest.fixture(scope="session")
def load(recipe: str, checkpoint: Path) -> Callable[..., Any]:
    """Loads the recipe's checkpoint with some options overridden."""

    def load(**overrides: Any) -> Any:
        return load_model(recipe, checkpoint, **overrides)

    return load


@pytest.fixture(scope="session")
def model(load: Callable[..., Any]) -> Any:
    return load()
