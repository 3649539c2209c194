"""Options that the decoding commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from calve.cli.checkpoint_options import checkpoint_sweep_options
from calve.cli.field_types import BOOLEAN, integer
from calve.cli.options import (
    Decorator,
    Function,
    corpus_options,
    dataclass_options,
    decorated,
    json_option,
    loadable_options,
    num_threads_option,
    recipe_options,
    strict_option,
    trust_option,
)
from calve.data.hotwords import hotwords_in_words
from calve.decoding.bundle_model import BundleModel
from calve.decoding.checkpoint_model import CheckpointModel, has_chunk_size
from calve.decoding.decoding_methods import DecodingMethod, choose_decoding_methods
from calve.decoding.splits import Split
from calve.errors import ConfigError, PluginError
from calve.models.checkpoints import BUILTIN_PREFIX, CheckpointChoice
from calve.registry.catalog import registry
from calve.registry.defaults import default_decoding_method
from calve.registry.specs import RecipeSpec
from calve.scoring.error_rates import UNITS

__all__ = [
    "decoding_options",
    "hotwords_to_report",
    "method_option",
    "simulate_streaming_option",
    "unit_option",
]


def decoding_options(recipe: RecipeSpec, *own: Decorator) -> Decorator:
    """Options that say which models decode which splits, and how.

    The command gets ``models`` (none if no checkpoint was chosen), ``overrides`` (the options of
    the recipe that were given, by table), ``chunk_size`` (None if it was not given), ``splits``,
    ``methods``, ``unit``, ``num_threads``, ``res_dir`` (by default the experiment folder; None if
    there is none), ``strict`` (refuse what a model was not trained for) and ``as_json``.

    Args:
      recipe: Whose models.
      own: Options of the command itself; ``--help`` lists them before those of the recipe.
    """

    def decorate(function: Function) -> Function:
        options: tuple[Decorator, ...] = (
            checkpoint_sweep_options,
            _TOKENS,
            corpus_options,
            _SPLIT,
            _methods_option,
            *own,
            _RES_DIR,
            unit_option,
            num_threads_option,
            trust_option,
            recipe_options(recipe),
            *([] if has_chunk_size(recipe) else [_CHUNK_SIZE]),
            strict_option,
            json_option,
        )
        return decorated(_collected(recipe, function), options)

    return decorate


def hotwords_to_report(
    methods: Iterable[DecodingMethod], model: CheckpointModel | BundleModel
) -> tuple[str, ...]:
    """The hotwords of the methods as texts.

    Raises:
      CalveError: if their file or the model's symbol table cannot be read.
    """
    files = dict.fromkeys(method.hotwords_file for method in methods)
    texts = (hotwords_in_words(path, model.symbols()) for path in files if path is not None)
    return tuple(dict.fromkeys(hotword for of_file in texts for hotword in of_file))


def _collected(recipe: RecipeSpec, function: Function) -> Function:
    @functools.wraps(function)
    def collect(
        *args: Any,
        checkpoints: list[CheckpointChoice],
        tokens: Path | None,
        corpus: str,
        data_dir: Path,
        split: tuple[str, ...],
        num_threads: int,
        res_dir: Path | None,
        encoder: dict[str, Any],
        model: dict[str, Any],
        decode_chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        overrides = {"encoder": encoder, "model": model}
        of_corpus = data_dir / registry().datasets.get(corpus).tokens
        models = [
            CheckpointModel(
                recipe.name, one, overrides, tokens or _tokens(one, of_corpus), num_threads
            )
            for one in checkpoints
        ]
        exp_dir = checkpoints[0].exp_dir if checkpoints else None
        return function(
            *args,
            models=models,
            overrides=overrides,
            chunk_size=encoder.get("decode_chunk_size", decode_chunk_size),
            splits=tuple(Split(corpus, data_dir, name) for name in dict.fromkeys(split)),
            num_threads=num_threads,
            res_dir=res_dir or (Path(exp_dir) if exp_dir else None),
            **kwargs,
        )

    return collect


def _tokens(checkpoint: CheckpointChoice, of_corpus: Path) -> Path | None:
    """A builtin checkpoint has symbols of its own."""
    is_builtin = (checkpoint.checkpoint or "").startswith(BUILTIN_PREFIX)
    return None if is_builtin else of_corpus


def _methods_option(function: Function) -> Function:
    """``--decoding-method`` and the options of all methods; the command gets ``methods``."""

    @functools.wraps(function)
    def collect(*args: Any, decoding_method: str, search: dict[str, Any], **kwargs: Any) -> Any:
        names = [name.strip() for name in decoding_method.split(",")]
        return function(*args, methods=choose_decoding_methods(names, search), **kwargs)

    return decorated(
        collect,
        _search_options("NAME,...", "One or several of {}; an option goes to each that has it."),
    )


def method_option(function: Function) -> Function:
    """``--decoding-method`` and the options of all methods; the command gets ``method``."""

    @functools.wraps(function)
    def collect(*args: Any, decoding_method: str, search: dict[str, Any], **kwargs: Any) -> Any:
        (method,) = choose_decoding_methods([decoding_method], search)
        if method.needs_reference:
            raise ConfigError(
                f"{method.name} needs a reference",
                fix="use calve decode or calve streaming-decode, which take it from the corpus",
            )
        return function(*args, method=method, **kwargs)

    return decorated(collect, _search_options("NAME", "One of {}."))


def _default_method() -> str | Callable[[], str]:
    """The default method's name; without one, help works and the error comes where it is used."""
    try:
        return default_decoding_method()
    except PluginError:
        return default_decoding_method


def _search_options(metavar: str, help_text: str) -> tuple[Decorator, ...]:
    known = ", ".join(spec.name for spec in registry().decoding_methods)
    names = click.option(
        "--decoding-method",
        default=_default_method(),
        show_default=True,
        metavar=metavar,
        help=help_text.format(known),
    )
    options = {spec.name: spec.options for spec in registry().decoding_methods}
    classes = loadable_options("decoding method", options)
    return names, dataclass_options(*classes, key="search")


_TOKENS = click.option(
    "--tokens",
    type=click.Path(path_type=Path),
    help="The model's tokens.txt.  [default: that of a builtin checkpoint, otherwise that of "
    "the corpus]",
)

_CHUNK_SIZE = click.option(
    "--decode-chunk-size",
    type=integer(1, 10_000),
    help="Frames after subsampling that a streaming step advances by.  [default: the model's own]",
)

_SPLIT = click.option(
    "--split",
    multiple=True,
    default=("test",),
    show_default=True,
    help="Part of the corpus; may be repeated.",
)

_RES_DIR = click.option(
    "--res-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for results, with a subdirectory for each method.  [default: --exp-dir; "
    "without it nothing is kept]",
)

unit_option = click.option(
    "--unit",
    type=click.Choice(list(UNITS)),
    default="word",
    show_default=True,
    help="Unit of the error counts.",
)

simulate_streaming_option = click.option(
    "--simulate-streaming",
    type=BOOLEAN,
    is_flag=False,
    flag_value="1",
    default=False,
    help="Mask attention as in a streaming encoder.  [default: 0]",
)
