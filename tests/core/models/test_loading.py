"""From a checkpoint to a model: sizes, fit, and what does not fit."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import calve
from calve.common.config import resolve
from calve.data.features import FeatureConfig
from calve.errors import CheckpointError, ConfigError, PluginError
from calve.models.checkpoints import CheckpointChoice, load_state_dict
from calve.models.loading import (
    ModelBuilder,
    _check_agreement,
    load,
    load_model,
    parameter_counts,
    recipe_of,
)

pytestmark = pytest.mark.usefixtures("bundled_plugins")

RECIPE = "lstm_transducer_stateless2"


@pytest.fixture(scope="module")
def checkpoint(goldens: Path) -> Path:
    return goldens / f"{RECIPE}.ckpt.pt"


def test_sizes_are_read_from_the_checkpoint(checkpoint: Path) -> None:
    loaded = load(RECIPE, checkpoint)
    encoder, model = loaded.config["encoder"], loaded.config["model"]
    assert (encoder.num_encoder_layers, encoder.encoder_dim) == (3, 32)
    assert (encoder.rnn_hidden_size, encoder.dim_feedforward) == (48, 64)
    assert (model.vocab_size, model.context_size) == (30, 2)
    assert (model.decoder_dim, model.joiner_dim, model.blank_id) == (32, 32, 0)


def test_the_checkpoint_fits_strictly(checkpoint: Path, goldens: Path) -> None:
    model = load_model(RECIPE, checkpoint)
    weights = torch.load(checkpoint, weights_only=True)["model"]
    state = model.state_dict()
    assert list(state) == list(weights)
    assert all(torch.equal(state[key], value) for key, value in weights.items())
    assert not model.training
    golden = torch.load(goldens / f"{RECIPE}.encoder.pt", weights_only=True)
    encoder: Any = model.encoder
    with torch.no_grad():
        y, *_ = encoder(golden["x"], golden["x_lens"])
    torch.testing.assert_close(y, golden["forward"]["out"], rtol=0, atol=1e-5)


def test_the_front_end_may_be_narrow_and_the_weights_averaged(goldens: Path) -> None:
    choice = CheckpointChoice(
        exp_dir=goldens / "averaging", epoch=4, avg=3, use_averaged_model=True
    )
    loaded = load(RECIPE, choice)
    assert loaded.config["encoder"].conv_layer1_channels == 2
    assert len(loaded.checkpoint.provenance["files"]) == 2


def test_a_checkpoint_says_which_recipe_it_is_of(goldens: Path) -> None:
    averaged = CheckpointChoice(exp_dir=goldens / "averaging", epoch=4, avg=3)
    assert recipe_of(load_state_dict(averaged)) == RECIPE
    conformer = goldens / "pruned_transducer_stateless4.ckpt.pt"
    loaded = load_state_dict(CheckpointChoice(str(conformer)))
    assert recipe_of(loaded) == "pruned_transducer_stateless4"
    builtin = CheckpointChoice("builtin:digits-conformer")
    assert recipe_of(load_state_dict(builtin)) == "pruned_transducer_stateless5"


def test_a_checkpoint_that_names_no_recipe_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.pt"
    torch.save({"model": torch.load(checkpoint, weights_only=True)["model"]}, bare)
    with pytest.raises(ConfigError, match="does not name its recipe"):
        recipe_of(load_state_dict(CheckpointChoice(str(bare))))


def test_it_is_calves_python_interface(checkpoint: Path) -> None:
    assert calve.load_model is load_model
    model = calve.load_model(RECIPE, str(checkpoint), num_encoder_layers=3, vocab_size=30)
    assert all(hasattr(model, name) for name in ("encoder", "decoder", "joiner"))


def test_options_that_are_lists_are_read_from_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Config:
        channels: tuple[int, ...] = field(default=(8, 32), metadata={"fixed": True})

    builder = ModelBuilder(RECIPE)
    monkeypatch.setitem(builder.config_classes, "encoder", Config)
    # Training writes parameters as JSON has them.
    saved = builder.saved({"channels": [4, 16], "vocab_size": 30})
    assert resolve(Config, saved["encoder"]) == Config((4, 16))
    fixed = builder.fixed(saved)["encoder"]
    _check_agreement({"channels": (4, 16)}, fixed, "x.pt")
    with pytest.raises(ConfigError, match=r"--channels 4,8 contradicts the checkpoint.* 4,16"):
        _check_agreement({"channels": (4, 8)}, fixed, "x.pt")


@pytest.mark.parametrize(
    ("option", "value", "actual"),
    [("num_encoder_layers", 12, 3), ("encoder_dim", 512, 32), ("vocab_size", 500, 30)],
)
def test_a_contradicting_option_names_both_values(
    checkpoint: Path, option: str, value: int, actual: int
) -> None:
    flag = "--" + option.replace("_", "-")
    with pytest.raises(ConfigError, match=rf"{flag} {value} .* {actual}"):
        load_model(RECIPE, checkpoint, **{option: value})


def test_an_option_that_the_weights_leave_open_is_taken(checkpoint: Path) -> None:
    loaded = load(RECIPE, checkpoint, {"encoder": {"dropout": 0.3}})
    assert loaded.config["encoder"].dropout == 0.3


def test_an_unknown_option_suggests_a_near_one(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'encoder_dim'"):
        load_model(RECIPE, checkpoint, encoder_dims=32)


def test_options_of_an_unknown_table_are_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"no options called 'encodr'[\s\S]*'encoder'"):
        load(RECIPE, checkpoint, {"encodr": {"encoder_dim": 32}})


def test_an_unknown_recipe_suggests_a_near_one(checkpoint: Path) -> None:
    with pytest.raises(PluginError, match=RECIPE):
        load_model("lstm_transducer_stateless", checkpoint)


@pytest.mark.parametrize("other", ["pruned_transducer_stateless", "pruned_transducer_stateless5"])
def test_a_checkpoint_of_another_recipe_says_what_does_not_fit(goldens: Path, other: str) -> None:
    with pytest.raises(CheckpointError, match=r"missing .* unexpected ") as e:
        load_model(RECIPE, goldens / f"{other}.ckpt.pt")
    assert re.search(rf"it fits the recipe .*\b{other}\b", str(e.value))
    assert len(str(e.value).splitlines()) == 3


def changed(checkpoint: Path, path: Path, **changes: Any) -> Path:
    """A copy of the checkpoint with entries replaced, or removed where None."""
    state = torch.load(checkpoint, weights_only=True)["model"]
    for key, value in changes.items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    torch.save({"model": state}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"simple_am_proj.bias": None}, r": 1 missing \(simple_am_proj\.bias\)"),
        ({"ctc.weight": torch.ones(1)}, r": 1 unexpected \(ctc\.weight\)"),
        (
            {"joiner.output_linear.bias": torch.ones(31)},
            r"shape .* is \[31\], not \[30\]",
        ),
        ({"decoder.embedding.weight": torch.ones(3)}, "wrong number of dimensions"),
        ({"decoder.conv.weight": torch.tensor(1.0)}, "wrong number of dimensions"),
    ],
)
def test_what_does_not_fit_is_named(
    checkpoint: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(RECIPE, changed(checkpoint, tmp_path / "a.pt", **changes))


def test_weights_of_another_kind_of_number_are_named(checkpoint: Path, tmp_path: Path) -> None:
    bias = torch.ones(30, dtype=torch.int64)
    path = changed(checkpoint, tmp_path / "a.pt", **{"joiner.output_linear.bias": bias})
    with pytest.raises(CheckpointError, match=r"joiner\.output_linear\.bias holds torch\.int64"):
        load_model(RECIPE, path)


def test_options_that_make_no_model_are_an_error(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"make no model: .*division by zero"):
        load_model(RECIPE, checkpoint, feature_dim=6)
    with pytest.raises(ConfigError, match=r"dropout is -2\.0; it must be from 0 to 1"):
        load_model(RECIPE, checkpoint, dropout=-2.0)


def with_giga(checkpoint: Path, path: Path) -> Path:
    """As icefall's recipe writes it by default: a second decoder and joiner, and a CTC head."""
    state = torch.load(checkpoint, weights_only=True)["model"]
    for key, value in list(state.items()):
        module, _, rest = key.partition(".")
        if module in ("decoder", "joiner", "simple_am_proj", "simple_lm_proj"):
            state[f"{module}_giga.{rest}"] = value + 1
    state["ctc_output.1.weight"] = torch.ones(30, 32)
    torch.save({"model": state}, path)
    return path


def test_what_only_training_needs_is_left_out_and_said(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_giga(checkpoint, tmp_path / "epoch-1.pt")
    loaded, expected = load(RECIPE, path), load(RECIPE, checkpoint)
    assert loaded.config == expected.config
    for key, value in expected.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value), key
    left_out = loaded.checkpoint.provenance["left_out"]
    assert set(left_out) == {
        "decoder_giga",
        "joiner_giga",
        "simple_am_proj_giga",
        "simple_lm_proj_giga",
        "ctc_output",
    }
    assert left_out["ctc_output"] == 1
    (message,) = caplog.messages
    assert message.startswith(f"{path}: left out decoder_giga, joiner_giga, ")
    assert message.endswith(f"({sum(left_out.values())} entries), which only training needs")


def test_a_recipe_whose_training_adds_nothing_leaves_nothing_out(
    goldens: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load("pruned_transducer_stateless4", goldens / "pruned_transducer_stateless4.ckpt.pt")
    assert "left_out" not in loaded.checkpoint.provenance
    assert caplog.messages == []


def test_the_recipe_that_fits_is_suggested_in_spite_of_them(
    checkpoint: Path, tmp_path: Path
) -> None:
    path = with_giga(checkpoint, tmp_path / "epoch-1.pt")
    with pytest.raises(CheckpointError, match=f"it fits the recipe {RECIPE}"):
        load("pruned_transducer_stateless5", path)


def test_converted_weights_are_recognized(checkpoint: Path, tmp_path: Path) -> None:
    loaded = load(RECIPE, checkpoint)
    torch.save(loaded.family.to_plain(loaded.model).state_dict(), tmp_path / "plain.pt")
    with pytest.raises(CheckpointError, match="already converted"):
        load_model(RECIPE, tmp_path / "plain.pt")


def test_half_precision_weights_become_float32(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)["model"]
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "half.pt")
    model = load_model(RECIPE, tmp_path / "half.pt")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_loaded_model_learns(checkpoint: Path) -> None:
    model = load_model(RECIPE, checkpoint).train()
    assert all(parameter.requires_grad for parameter in model.parameters())
    encoder: Any = model.encoder
    encoder(torch.randn(1, 20, 80), torch.tensor([20]))[0].sum().backward()
    assert encoder.encoder_embed.out.weight.grad.abs().sum() > 0


def test_the_published_configuration_has_84_million_parameters() -> None:
    builder = ModelBuilder(RECIPE)
    model = builder.build(builder.resolve())
    plain = builder.family.to_plain(model)
    assert parameter_counts(plain) == {
        "encoder": 83_137_520,
        "decoder": 257_024,
        "joiner": 781_812,
        "total": 84_176_356,
    }


def test_loading_imports_neither_sympy_nor_dynamo(checkpoint: Path) -> None:
    script = (
        "import sys, calve; "
        f"calve.load_model({RECIPE!r}, {str(checkpoint)!r}); "
        "print(*{'sympy', 'torch._dynamo', 'numba', 'lhotse', 'ncnn'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


def test_the_sampling_rate_is_an_option_as_no_weight_tells_it(checkpoint: Path) -> None:
    assert load(RECIPE, checkpoint).features == FeatureConfig(sample_rate=16000, num_mel_bins=80)
    loaded = load(RECIPE, checkpoint, {"model": {"sample_rate": 8000}})
    assert loaded.features == FeatureConfig(sample_rate=8000, num_mel_bins=80)


def test_the_sampling_rate_that_a_checkpoint_states_is_taken(
    checkpoint: Path, tmp_path: Path
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "sample_rate": 8000}, tmp_path / "a.pt")
    assert load(RECIPE, tmp_path / "a.pt").features.sample_rate == 8000
    with pytest.raises(ConfigError, match="--sample-rate 16000 contradicts the checkpoint"):
        load(RECIPE, tmp_path / "a.pt", {"model": {"sample_rate": 16000}})
