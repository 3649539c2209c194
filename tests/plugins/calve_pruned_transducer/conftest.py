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
def load(
    recipe: str, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Any]:
    """Loads the recipe's checkpoint as if it had been trained with some other options."""
    trained = torch.load(checkpoint, weights_only=True)

    def load(**options: Any) -> Any:
        # A file of its own: a model's weights stay in the file that they were loaded from.
        path = tmp_path_factory.mktemp("trained") / checkpoint.name
        torch.save(trained | options, path)
        return load_model(recipe, path)

    return load


@pytest.fixture(scope="session")
def model(load: Callable[..., Any]) -> Any:
    return load()
