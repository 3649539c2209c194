"""Every command line and option of calve in docs/icefall-users.md exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from calve.cli import calve_command, run
from calve.registry import registry

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "icefall-users.md").read_text("utf-8")
BLOCKS = re.findall(r"^ *```\n(.*?)^ *```", PAGE, flags=re.DOTALL | re.MULTILINE)
LINES = [line.strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("calve ")]
# The recipe that the page's example writes; it has the same options as any other of its family.
OWN_RECIPE, STAND_IN = "my_speech_transducer", "lstm_transducer_stateless2"


@pytest.fixture
def parsed(monkeypatch, tmp_path):
    """Contexts of commands that were parsed and not run, in a folder with the page's files."""
    for folder in ("exp", "bundle", "bundle-ncnn", "download", "data/librispeech"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "exp" / "pretrained.pt").touch()
    monkeypatch.chdir(tmp_path)
    contexts = []
    invoke = click.Command.invoke

    def parse_only(command, ctx):
        if isinstance(command, click.Group):
            return invoke(command, ctx)
        contexts.append(ctx)
        return None

    monkeypatch.setattr(click.Command, "invoke", parse_only)
    return contexts


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_parses(parsed, capsys, line):
    arguments = shlex.split(line.replace(OWN_RECIPE, STAND_IN))[1:]
    assert run(arguments) == 0, capsys.readouterr().err
    assert len(parsed) == 1


@pytest.mark.parametrize("line", ["calve train lstm_transducer_stateless2 --no-such-option 1"])
def test_an_option_that_does_not_exist_would_be_found(parsed, line):
    assert run(shlex.split(line)[1:]) == 2
    assert parsed == []


def test_every_renamed_option_exists_in_the_commands_that_the_page_names():
    table = PAGE.split("### Options with another name")[1].split("\n## ")[0]
    renamed = [row.strip("|").split("|") for row in table.splitlines() if row.startswith("| ")][1:]
    checked = 0
    for _, new, commands in renamed:
        for command in re.findall(r"`([\w-]+)`", commands):
            for option in re.findall(r"`(--[\w-]+)`", new):
                assert option in options_of(command), (command, option)
                checked += 1
    assert checked > len(renamed)


def test_every_recipe_that_the_page_says_comes_with_calve_does():
    sentence = PAGE.split("## If your recipe is one of icefall's")[1].split("come with calve")[0]
    names = re.findall(r"`(\w+)`", sentence)
    family = names[1]
    recipes = [*names[:2], *(f"{family}{number}" for number in names[2:])]
    assert len(recipes) == 5
    assert all(recipe in registry().recipes for recipe in recipes)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((\w[\w.-]*\.md)[#)]", PAGE))))
def test_every_page_that_it_leads_to_exists(target):
    assert (Path(__file__).resolve().parents[2] / "docs" / target).is_file()


def options_of(name):
    """Options of a command, or of its form for the conformer's recipe."""
    command = calve_command.get_command(click.Context(calve_command), name).load()
    if isinstance(command, click.Group):
        recipe = command.get_command(click.Context(command), "pruned_transducer_stateless4")
        command = recipe.load() if hasattr(recipe, "load") else recipe
    return {option for parameter in command.params for option in parameter.opts}
