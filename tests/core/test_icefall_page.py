"""Every option and recipe of calve in docs/icefall-users.md exists."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from calve.cli.application import calve_command
from calve.registry.catalog import registry

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "icefall-users.md").read_text("utf-8")


@pytest.mark.usefixtures("bundled_plugins")
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


@pytest.mark.usefixtures("bundled_plugins")
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
