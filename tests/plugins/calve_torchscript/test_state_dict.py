from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from calve.api import BundleError
from calve.bundles.bundle import Bundle
from calve.exporting.verification import PASSED, verify
from calve.models.checkpoints import CheckpointChoice
from calve.models.loading import load_model
from calve_torchscript.layout import WEIGHTS_FILE
from calve_torchscript.lint import lint_weights
from calve_torchscript.runtime import StateDictRuntime

RECIPES = (
    "lstm_transducer_stateless2",
    *(f"pruned_transducer_stateless{number}" for number in ("", "2", "4", "5")),
)


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def trained(recipe: str, goldens: Path) -> dict[str, torch.Tensor]:
    """The weights that icefall saved."""
    return weights(goldens / f"{recipe}.ckpt.pt")


@pytest.fixture(scope="module")
def exported(
    recipe: str, bundle_of: Callable[[str], Bundle], conformer_bundle: Callable[[str, str], Bundle]
) -> Path:
    """The ``pretrained.pt`` that calve made of them."""
    lstm = recipe == RECIPES[0]
    bundle = bundle_of("state-dict") if lstm else conformer_bundle(recipe, "state-dict")
    return bundle.path / WEIGHTS_FILE


def weights(path: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(path, weights_only=True)
    model: dict[str, torch.Tensor] = checkpoint["model"]
    return model


def same(model: torch.nn.Module, expected: dict[str, torch.Tensor]) -> bool:
    state = model.state_dict()
    return state.keys() == expected.keys() and all(
        torch.equal(state[name], tensor) for name, tensor in expected.items()
    )


def test_it_holds_the_model_as_it_was_trained_and_nothing_else(
    exported: Path, trained: dict[str, torch.Tensor]
) -> None:
    assert list(torch.load(exported, weights_only=True)) == ["model"]
    assert list(weights(exported)) == list(trained)
    assert all(torch.equal(tensor, trained[name]) for name, tensor in weights(exported).items())


def test_it_loads_again(recipe: str, exported: Path, trained: dict[str, torch.Tensor]) -> None:
    assert same(load_model(recipe, exported), trained)


def test_it_loads_again_as_an_epoch(
    recipe: str, exported: Path, trained: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """As icefall's users do it: a link called epoch-999.pt, and no averaging."""
    (tmp_path / "epoch-999.pt").symlink_to(exported.resolve())
    choice = CheckpointChoice(exp_dir=tmp_path, epoch=999, avg=1, use_averaged_model=False)
    assert same(load_model(recipe, choice), trained)


def test_verify_rebuilds_the_model_from_the_bundle_alone(
    bundle_of: Callable[[str], Bundle],
) -> None:
    checks = {check.name: check for check in verify(bundle_of("state-dict").path)}
    assert {check.outcome for check in checks.values()} == {PASSED}
    assert "max abs error 0.0e+00" in checks["golden"].detail


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "the file is missing"),
        (b"no checkpoint", "cannot load the weights: this is no checkpoint"),
        (
            {"model": {"weight": torch.zeros(1)}},
            "cannot load the weights: the checkpoint.s entries do not fit",
        ),
    ],
)
def test_the_runtime_says_what_is_wrong_with_a_bundle(
    copy_of: Callable[[str], Path], content: object, says: str
) -> None:
    bundle = Bundle.open(copy_of("state-dict"))
    replace_weights(bundle.path, content)
    with pytest.raises(BundleError, match=says) as refused:
        StateDictRuntime.open(bundle)
    assert refused.value.where == str(bundle.path / WEIGHTS_FILE)
    assert "export the bundle again" in str(refused.value.fix)


def replace_weights(bundle_dir: Path, content: object) -> Path:
    """Write ``content`` into the bundle's file of weights; None removes it."""
    path = bundle_dir / WEIGHTS_FILE
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("content", "code"), [(None, "file"), (b"no checkpoint", "file"), ({"weights": {}}, "model")]
)
def test_lint_names_a_file_that_holds_no_model(
    copy_of: Callable[[str], Path], content: object, code: str
) -> None:
    path = replace_weights(copy_of("state-dict"), content)
    (finding,) = lint_weights(path.parent)
    assert (finding.code, finding.where) == (code, str(path))
