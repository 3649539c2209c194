"""Options made from dataclasses, and the options that commands share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import click
import pytest
from invoking import invoke

from calve.cli.field_types import BOOLEAN, integer, number
from calve.cli.options import (
    RecipeGroup,
    dataclass_options,
    json_option,
    loadable_options,
    recipe_options,
)
from calve.common.config import fields_help
from calve.common.ranges import Range
from calve.common.references import LazyRef
from calve.registry.catalog import registry


@dataclass
class Encoder:
    num_layers: int = field(default=12, metadata={"help": "How many layers."})
    causal: bool = field(default=False, metadata={"help": "See no future."})
    channels: tuple[int, ...] = (8, 32)
    mode: Literal["fast", "slow"] = "fast"
    folder: Path | None = None
    required: float = field(kw_only=True)


def _invoke(command, *arguments):
    return invoke(command, arguments)


@pytest.fixture
def seen():
    return {}


@pytest.fixture
def command(seen):
    @click.command()
    @dataclass_options(Encoder, key="encoder")
    @json_option
    def run(**values):
        seen.update(values)

    return run


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], {}),
        (["--num-layers", "4"], {"num_layers": 4}),
        (["--num-layers", "12"], {"num_layers": 12}),
        (["--causal"], {"causal": True}),
        (["--no-causal"], {"causal": False}),
        (["--causal", "1"], {"causal": True}),
        (["--causal", "True"], {"causal": True}),
        (["--causal", "0"], {"causal": False}),
        (["--causal=false"], {"causal": False}),
        (["--causal", "--num-layers", "4"], {"causal": True, "num_layers": 4}),
        (["--channels", "1,2,3"], {"channels": (1, 2, 3)}),
        (["--mode", "slow"], {"mode": "slow"}),
        (["--folder", "a/b"], {"folder": Path("a/b")}),
        (["--folder", "none"], {"folder": None}),
        (["--required", "1e-3"], {"required": 1e-3}),
    ],
)
def test_a_command_receives_only_what_was_given(command, seen, arguments, given):
    result = _invoke(command, *arguments)
    assert result.exit_code == 0, result.output
    assert seen == {"encoder": given, "as_json": False}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-layers", "four"], "'--num-layers': 'four' is not an integer"),
        (["--causal", "maybe"], "'--causal': 'maybe' is not 0 or 1"),
        (["--mode", "medium"], "'--mode': 'medium' is not one of fast, slow"),
        (["--channels", "1,x"], "'--channels': 'x' is not an integer"),
        (["--causal", "--no-causal"], "--causal and --no-causal contradict each other"),
        (["--num-layer-s", "4"], "No such option"),
    ],
)
def test_a_wrong_value_is_an_error_naming_the_option(command, arguments, message):
    result = _invoke(command, *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_help_shows_type_default_and_text_of_each_field(command):
    shown = " ".join(_invoke(command, "--help").output.split())
    for words in (
        "--num-layers INT How many layers. [default: 12]",
        "--causal [0|1] See no future. [default: 0] [or --no-causal]",
        "--channels INT,... [default: 8,32]",
        "--mode [fast|slow] [default: fast]",
        "--folder PATH [default: none]",
    ):
        assert words in shown


@pytest.mark.parametrize(("text", "value"), [("1", True), ("0", False), ("false", False)])
def test_an_option_of_the_command_itself_speaks_of_booleans_as_a_fields_does(seen, text, value):
    @click.command()
    @click.option("--streaming", type=BOOLEAN)
    def run(streaming):
        seen.update(streaming=streaming)

    assert _invoke(run, "--streaming", text).exit_code == 0
    assert seen == {"streaming": value}
    assert "--streaming [0|1]" in _invoke(run, "--help").output
    assert "'--streaming': 'maybe' is not 0 or 1" in _invoke(run, "--streaming", "maybe").output


def test_a_field_that_differs_between_classes_takes_and_shows_what_each_means(seen):
    @dataclass
    class Few:
        beam: int = field(default=4, metadata={"help": "How many."})

    @dataclass
    class Far:
        beam: float = field(default=20.0, metadata={"help": "How far."})

    @click.command()
    @dataclass_options(Few, Far)
    def command(**values):
        seen.update(values)

    shown = " ".join(_invoke(command, "--help").output.split())
    assert "--beam INT|FLOAT How many. Or: How far. [default: 4 or 20.0]" in shown
    assert _invoke(command, "--beam", "8").exit_code == 0
    assert isinstance(seen["options"]["beam"], int)
    assert _invoke(command, "--beam", "12.5").exit_code == 0
    assert seen == {"options": {"beam": 12.5}}
    assert "'far' is not integer or number" in _invoke(command, "--beam", "far").output


def test_a_field_that_two_classes_share_is_one_option(seen):
    @dataclass
    class Other:
        num_layers: int = 1
        other: str = "x"

    @click.command()
    @dataclass_options(Encoder, Other)
    def run(options):
        seen.update(options)

    assert _invoke(run, "--num-layers", "4", "--other", "y").exit_code == 0
    assert seen == {"num_layers": 4, "other": "y"}
    assert _invoke(run, "--help").output.count("--num-layers") == 1


@pytest.mark.usefixtures("bundled_plugins")
def test_a_format_whose_options_cannot_be_imported_costs_a_line(capsys):
    good = registry().exporters.get("ncnn").options
    options = {"odd": LazyRef("no_such_module_for_calve:X"), "none": None, "ncnn": good}
    assert loadable_options("format", options) == [good.load()]
    (line,) = capsys.readouterr().err.splitlines()
    assert "options of format 'odd'" in line
    assert "no_such_module_for_calve" in line


@pytest.mark.usefixtures("bundled_plugins")
class TestRecipes:
    recipe = "lstm_transducer_stateless2"

    @pytest.fixture
    def group(self, seen):
        def make(recipe):
            seen["made"] = recipe.name

            @click.command(recipe.name)
            @recipe_options(recipe)
            def run(encoder, model):
                seen.update(encoder=encoder, model=model)

            return run

        return RecipeGroup("work", make_command=make, help="Work on a recipe.")

    def test_the_list_makes_no_command(self, group, seen):
        shown = _invoke(group, "--help").output
        assert self.recipe in shown
        assert "Work on a recipe." in shown
        assert seen == {}

    def test_a_recipe_brings_the_options_of_its_encoder_and_model(self, group, seen):
        recipe = registry().recipes.get(self.recipe)
        encoder = fields_help(registry().encoders.get(recipe.encoder).config.load())
        shown = _invoke(group, self.recipe, "--help").output
        for one in encoder:
            assert f"--{one.name.replace('_', '-')}" in shown
        assert _invoke(group, self.recipe).exit_code == 0
        assert seen == {"made": self.recipe, "encoder": {}, "model": {}}

    @pytest.mark.parametrize(("recipe", "encoder_dim"), [("2", 512), ("5", 384)])
    def test_help_shows_the_defaults_of_the_recipe(self, group, recipe, encoder_dim):
        shown = _invoke(group, f"pruned_transducer_stateless{recipe}", "--help").output
        described = shown[shown.index("--encoder-dim") :].split("--", 2)[1]
        assert f"[default: {encoder_dim}]" in " ".join(described.split())

    def test_an_unknown_recipe_is_an_error_with_a_suggestion(self, group):
        result = _invoke(group, "lstm_transducer_stateless")
        assert result.exit_code == 1
        assert f"did you mean '{self.recipe}'" in result.output


@dataclass
class Few:
    streams: int = field(default=1, metadata={"range": Range(1, 4)})


@dataclass
class Many:
    streams: int = field(default=1, metadata={"range": Range(0, 9)})


@pytest.fixture
def limited(seen):
    @click.command()
    @dataclass_options(Few, Many)
    @click.option("--seconds", type=number(Range(0, 60, above_minimum=True)))
    @click.option("--threads", type=integer(1, 512))
    def run(**values):
        seen.update(values)

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--streams", "10"], "Invalid value for '--streams': 10 is not from 0 to 9"),
        (["--threads", "16777217"], "Invalid value for '--threads': 16777217 is not from 1 to 512"),
        (["--threads", "-1"], "Invalid value for '--threads': -1 is not from 1 to 512"),
        (["--seconds", "nan"], "Invalid value for '--seconds': nan is not above 0 and at most 60"),
        (["--seconds", "0"], "Invalid value for '--seconds': 0.0 is not above 0"),
        (["--seconds", "1e400"], "Invalid value for '--seconds': inf is not above 0"),
        (["--threads", "9" * 5000], "Invalid value for '--threads': '999"),
    ],
)
def test_a_number_outside_of_its_range_is_refused_with_the_name_of_its_option(
    limited, arguments, said
):
    found = _invoke(limited, *arguments)
    assert found.exit_code == 2
    assert said in found.output
    assert len(found.output) < 500


def test_a_shared_option_takes_what_any_of_its_classes_takes(limited, seen):
    assert _invoke(limited, "--streams", "9", "--threads", "512").exit_code == 0
    assert seen == {"options": {"streams": 9}, "seconds": None, "threads": 512}
