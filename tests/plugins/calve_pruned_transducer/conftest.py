"""The four recipes with icefall's numbers, and small conformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from calve.models.loading import load_model
from calve_pruned_transducer.builders import plain_conformer, reworked_conformer
from calve_pruned_transducer.config import ConformerConfig
from calve_transducer.layers.conversion import to_plain

RECIPES = tuple(f"pruned_transducer_stateless{number}" for number in ("", "2", "4", "5"))
BUILDERS = (plain_conformer, reworked_conformer)
SIZES: dict[str, Any] = {
    "num_encoder_layers": 2,
    "encoder_dim": 16,
    "nhead": 2,
    "dim_feedforward": 24,
    "cnn_module_kernel": 5,
    "feature_dim": 20,
    "causal_convolution": True,
}


def close(actual: Any, expected: Any) -> None:
    assert_close(actual, expected, rtol=0.0, atol=1e-5)


def conformer(build: Callable[..., Any], **options: Any) -> Any:
    """A plain conformer of three layers with nothing left at zero."""
    torch.manual_seed(0)
    sizes = {**SIZES, "num_encoder_layers": 3, **options}
    encoder = build(ConformerConfig(**sizes)).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return to_plain(encoder)


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
