"""Options that several commands share, made from dataclasses."""

from __future__ import annotations

import functools
import operator
import os
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from calve.cli.field_types import FieldType, integer
from calve.cli.output import echo
from calve.common.config import ConfigField, fields_help, load_toml, value_text
from calve.common.machine import usable_cpus
from calve.common.ranges import Range
from calve.common.references import LazyRef
from calve.common.trust import TRUST_VARIABLE
from calve.errors import PluginError
from calve.registry.catalog import SpecTable, registry
from calve.registry.specs import RecipeSpec

__all__ = [
    "RecipeGroup",
    "SpecGroup",
    "corpus_options",
    "dataclass_options",
    "decorated",
    "encoder_options",
    "json_option",
    "loadable_options",
    "num_threads_option",
    "recipe_options",
    "runs_option",
    "strict_option",
    "training_corpus_options",
    "trust_option",
]

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]


def dataclass_options(
    *classes: type, key: str = "options", defaults: Mapping[str, Any] | None = None
) -> Decorator:
    """Give a command one option for each field of ``classes``.

    ``rnn_hidden_size`` becomes ``--rnn-hidden-size``. A boolean ``fp16`` takes a value as
    icefall's options do (``--fp16 1``, ``--fp16 false``), or none (``--fp16``, ``--no-fp16``).
    Fields that several classes share become one option, which takes what any of them takes; where
    they differ, its help says so. A list may be given in pieces: each use of the option adds to it.
    The command's function receives a dict of the values that were given, and only these, as its
    argument ``key``; `calve.common.config.resolve` lays them over the defaults.
    ``defaults`` are those that ``--help`` shows where they differ from the dataclass' own.
    """
    same_name: dict[str, list[ConfigField]] = {}
    for cls in classes:
        for field in fields_help(cls):
            shown = (defaults or {}).get(field.name, field.default)
            same_name.setdefault(field.name, []).append(replace(field, default=shown))
    ordered = {name: _merged(fields) for name, fields in same_name.items()}

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def collect(*args: Any, **kwargs: Any) -> Any:
            kwargs[key] = _given(kwargs, key, ordered)
            return function(*args, **kwargs)

        decorated: Function = collect
        for field in reversed(ordered.values()):
            for option in _options_of(field, key):
                decorated = option(decorated)
        return decorated

    return decorate


def _options_of(field: ConfigField, key: str) -> list[Decorator]:
    flag = field.name.replace("_", "-")
    help_text = field.help if field.required else f"{field.help}  [default: {field.default}]"
    parameter = _parameter(key, field.name)
    value_type = FieldType(field.type_name, field.annotation, field.range)
    if field.annotation is not bool:
        return [
            click.option(
                f"--{flag}",
                parameter,
                type=value_type,
                multiple=_is_list(field),
                help=help_text.strip(),
            )
        ]
    return [
        click.option(f"--no-{flag}", f"{parameter}__off", is_flag=True, hidden=True),
        click.option(
            f"--{flag}",
            parameter,
            type=value_type,
            is_flag=False,
            flag_value="1",
            default=None,
            help=f"{help_text}  [or --no-{flag}]".strip(),
        ),
    ]


def _merged(fields: Sequence[ConfigField]) -> ConfigField:
    """One field for all fields of a name; its default is text for people."""
    annotations = dict.fromkeys(field.annotation for field in fields)
    helps = dict.fromkeys(field.help for field in fields)
    defaults = dict.fromkeys(value_text(field.default) or "none" for field in fields)
    return replace(
        fields[0],
        annotation=functools.reduce(operator.or_, annotations),
        range=functools.reduce(Range.hull, (field.range for field in fields)),
        help=" Or: ".join(helps),
        default=" or ".join(defaults),
    )


def _is_list(field: ConfigField) -> bool:
    arguments = typing.get_args(field.annotation)
    return typing.get_origin(field.annotation) is list or arguments[-1:] == (Ellipsis,)


def _parameter(key: str, name: str) -> str:
    return f"{key}__{name}"


def _given(kwargs: dict[str, Any], key: str, fields: Mapping[str, ConfigField]) -> dict[str, Any]:
    """Remove the values of ``fields`` from ``kwargs``; return those that the user gave."""
    context = click.get_current_context()
    given: dict[str, Any] = {}
    for name, field in fields.items():
        parameter = _parameter(key, name)
        value, off = kwargs.pop(parameter), kwargs.pop(f"{parameter}__off", False)
        if _is_list(field):
            value = tuple(item for piece in value for item in piece)
        if context.get_parameter_source(parameter) is not ParameterSource.DEFAULT:
            given[name] = value
        if off and given.setdefault(name, False):
            flag = name.replace("_", "-")
            raise click.UsageError(f"--{flag} and --no-{flag} contradict each other")
    return given


def loadable_options(kind: str, options: Mapping[str, LazyRef | None]) -> list[type]:
    """The options dataclasses of everything registered of a kind.

    One that cannot be imported costs a line: a command that offers the options of all must not
    fail for one that nobody asked for.

    Args:
      kind: What it is, for the line: "format", "encoder".
      options: By name; None for what has no options.
    """
    classes = []
    for name, reference in options.items():
        try:
            if reference is not None:
                classes.append(reference.load())
        except PluginError as error:
            echo(f"calve: options of {kind} {name!r}: {error.what}", err=True)
    return classes


def recipe_options(recipe: RecipeSpec) -> Decorator:
    """The options of a recipe's encoder and model, as the arguments ``encoder`` and ``model``.

    Raises:
      PluginError: if the two share an option name, or cannot be imported.
    """
    encoder = registry().encoders.get(recipe.encoder).config.load()
    model = recipe.family.load().config
    defaults = load_toml(recipe.defaults)
    shared = {f.name for f in fields_help(encoder)} & {f.name for f in fields_help(model)}
    if shared:
        raise PluginError(
            f"encoder and model both have the option {', '.join(sorted(shared))}",
            where=f"recipe {recipe.name}",
            fix="rename one of the two fields",
        )

    def decorate(function: Function) -> Function:
        for key, cls in (("model", model), ("encoder", encoder)):
            function = dataclass_options(cls, key=key, defaults=defaults.get(key))(function)
        return function

    return decorate


def encoder_options(function: Function) -> Function:
    """The options of all encoders together, as the argument ``encoder``.

    For a command that knows the recipe only when it runs.
    """
    classes = loadable_options("encoder", {one.name: one.config for one in registry().encoders})
    return dataclass_options(*classes, key="encoder")(function)


class SpecGroup(click.Group):
    """A command with a subcommand for everything registered of a kind, each with its own options.

    Args:
      kind: What a subcommand is called in ``--help``: "RECIPE".
      title: The heading of their list.
      table: Gives the specs.
      make_command: Makes the command of a spec; called only for the one that is used.
    """

    def __init__(
        self,
        name: str,
        *,
        kind: str,
        title: str,
        table: Callable[[], SpecTable[str, Any]],
        make_command: Callable[[Any], click.Command],
        **attributes: Any,
    ) -> None:
        super().__init__(name, subcommand_metavar=f"{kind} [OPTIONS]...", **attributes)
        self._title = title
        self._table = table
        self._make_command = make_command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._table().names())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._make_command(self._table().get(cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        table = self._table()
        with formatter.section(self._title):
            formatter.write_dl([(n, table.get(n).summary) for n in self.list_commands(ctx)])


class RecipeGroup(SpecGroup):
    """A command whose subcommands are the registered recipes.

    Args:
      make_command: Makes the command of one recipe; called only for the recipe that is used.
    """

    def __init__(
        self, name: str, *, make_command: Callable[[RecipeSpec], click.Command], **attributes: Any
    ) -> None:
        super().__init__(
            name,
            kind="RECIPE",
            title="Recipes",
            table=lambda: registry().recipes,
            make_command=make_command,
            **attributes,
        )


def decorated(function: Function, options: Iterable[Decorator]) -> Function:
    """``function`` with options, which ``--help`` lists in this order."""
    for option in reversed(tuple(options)):
        function = option(function)
    return function


def corpus_options(function: Function) -> Function:
    """``--corpus`` and ``--data-dir``; the command gets ``corpus`` (a name) and ``data_dir``."""
    return _corpus_options(function, registry().datasets.names())


def training_corpus_options(function: Function) -> Function:
    """Like `corpus_options`; only corpora that have a loader are offered."""
    corpora = registry().datasets
    return _corpus_options(function, [name for name in corpora.names() if corpora.get(name).loader])


def _corpus_options(function: Function, names: Iterable[str]) -> Function:
    @functools.wraps(function)
    def collect(*args: Any, corpus: str, data_dir: Path | None, **kwargs: Any) -> Any:
        return function(*args, corpus=corpus, data_dir=data_dir or Path("data") / corpus, **kwargs)

    data_dir = click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Directory in which `calve prepare` prepared the corpus.  [default: data/CORPUS]",
    )
    corpus = click.option(
        "--corpus",
        type=click.Choice(sorted(names)),
        required=True,
        help="Name of a corpus that `calve prepare` has prepared.",
    )
    return corpus(data_dir(collect))


def json_option(function: Function) -> Function:
    """``--json``: the result as JSON on stdout; the command gets it as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(function)


def trust_option(function: Function) -> Function:
    """``--trust``, for this process and those that it starts."""

    def remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and TRUST_VARIABLE not in os.environ:
            os.environ[TRUST_VARIABLE] = "1"
            ctx.call_on_close(lambda: os.environ.pop(TRUST_VARIABLE, None))

    option = click.option(
        "--trust",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Run code that is in the bundle, whatever it does, with your permissions.",
    )
    return option(function)


def strict_option(function: Function) -> Function:
    """``--strict``: reject a chunk or a context that the model was not trained for."""
    return click.option(
        "--strict",
        is_flag=True,
        help="Reject a chunk or a context that the model was not trained for, instead of warning.",
    )(function)


def num_threads_option(function: Function) -> Function:
    """``--num-threads``, at least 1."""
    return click.option(
        "--num-threads",
        type=integer(1, _most_threads()),
        default=1,
        show_default=True,
        help="Number of threads of each process.",
    )(function)


def _most_threads() -> int:
    """Far more threads than processors make a step take seconds instead of milliseconds."""
    _, processors = usable_cpus()
    return max(16, 4 * processors)


def runs_option(default: int) -> Decorator:
    """``--runs``, for commands that repeat a measurement."""
    return click.option(
        "--runs",
        type=integer(1, 10_000),
        default=default,
        show_default=True,
        help="Number of measurements of each kind, taken in turn.",
    )
