"""Every number that a command takes has a stated range, and one outside of it is refused."""

from __future__ import annotations

import typing

import click
import pytest

from calve.cli.application import LazyCommand, calve_command, run
from calve.cli.field_types import FieldType
from calve.common.ranges import ANY_NUMBER


def _commands(command, words):
    """All commands below one, with the words that call them."""
    if isinstance(command, LazyCommand):
        command = command.load()
    if not isinstance(command, click.Group):
        yield words, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from _commands(command.get_command(context, name), (*words, name))


COMMANDS = dict(_commands(calve_command, ()))


def _numbers(annotation):
    """Whether numbers are among the values of a type."""
    if annotation in (int, float):
        return True
    return typing.get_origin(annotation) is not typing.Literal and any(
        map(_numbers, typing.get_args(annotation))
    )


def _numeric_options(command):
    for parameter in command.params:
        of_field = isinstance(parameter.type, FieldType) and _numbers(parameter.type.annotation)
        if of_field or isinstance(parameter.type, (type(click.INT), type(click.FLOAT))):
            yield parameter


NUMERIC = {words: tuple(_numeric_options(command)) for words, command in COMMANDS.items()}
WITH_NUMBERS = [
    pytest.param(words, id=" ".join(words)) for words, found in NUMERIC.items() if found
]


@pytest.mark.usefixtures("bundled_plugins")
def test_the_commands_of_all_plugins_are_looked_at():
    assert {("transcribe",), ("export", "lstm_transducer_stateless2")} <= set(COMMANDS)
    assert {parameter.name for parameter in NUMERIC["quantize",]} == {
        "options__max_wer_increase",
        "options__num_workers",
    }
    assert len(WITH_NUMBERS) > 10


@pytest.mark.parametrize("words", WITH_NUMBERS)
def test_every_numeric_option_states_its_range(words):
    for parameter in NUMERIC[words]:
        assert isinstance(parameter.type, FieldType), f"{parameter.name}: use integer or number"
        assert parameter.type.limits is not ANY_NUMBER, f"{parameter.name}: state a range"
        default = parameter.get_default(click.Context(COMMANDS[words]))
        assert parameter.type.limits.first_outside(default) is None


@pytest.mark.parametrize("words", WITH_NUMBERS)
@pytest.mark.parametrize("text", ["-2000000000000", "1" * 30, "nan"])
def test_a_number_outside_of_the_range_is_refused(words, text):
    for parameter in NUMERIC[words]:
        with pytest.raises(click.BadParameter):
            parameter.type.convert(text, parameter, click.Context(COMMANDS[words]))


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe", "bundle", "a.wav", "--num-threads", "16777217"),
        ("transcribe", "bundle", "a.wav", "--chunk-ms", "-40"),
        ("bench", "bundle", "--num-threads", "0"),
        ("quantize", "bundle", "--output", "q", "--num-workers", "-1"),
        (
            *("export", "lstm_transducer_stateless2", "--checkpoint", "x.pt", "--output", "o"),
            *("--dropout", "-2.0"),
        ),
    ],
    ids=lambda arguments: arguments[-2],
)
def test_the_message_names_the_option_and_the_range(arguments, capsys):
    assert run(arguments) == 2
    said = f"Invalid value for '{arguments[-2]}': {arguments[-1]} is not from "
    assert said in capsys.readouterr().err
