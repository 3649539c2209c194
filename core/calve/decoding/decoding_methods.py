"""Decoding methods with the options that a user chose."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from calve.common.config import ConfigField, fields_help, option_name, resolve
from calve.data.tokens import SymbolTable
from calve.decoding.search import make_search
from calve.errors import ConfigError, PluginError
from calve.protocols import Search, Session
from calve.registry.catalog import registry
from calve.registry.defaults import default_decoding_method

__all__ = ["DecodingMethod", "choose_decoding_methods", "with_and_without_hotwords"]

_UNFIT_FOR_NAMES = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class DecodingMethod:
    """A decoding method with its given options.

    Attributes:
      name: Name of a registered decoding method.
      options: Given options by name; the others have their defaults.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def default(cls) -> DecodingMethod:
        """Return the default method with its default options.

        Raises:
          PluginError: if no plugin registers a default method, or several do.
        """
        return cls(default_decoding_method())

    @property
    def key(self) -> str:
        """Its key in file names and tables: its name and the options that differ from the defaults.

        Raises:
          PluginError: if no plugin provides the method.
          ConfigError: if an option is unknown or wrong.
        """
        cls = registry().decoding_methods.get(self.name).options.load()
        chosen = resolve(cls, self.options)
        parts = [self.name]
        for option in fields_help(cls):
            value = getattr(chosen, option.name)
            if option.required or value != option.default:
                parts += self._in_words(option, value)
        return "_".join(parts)

    def _in_words(self, option: ConfigField, value: Any) -> list[str]:
        text = value.stem if isinstance(value, Path) else str(value)
        words = [option.name, _UNFIT_FOR_NAMES.sub("-", text)]
        # The name fast_beam_search_LG includes "LG", the usual name of its required file.
        said = option.required and self.name.endswith(f"_{option.name}")
        return [word for word in words if word != option.name] if said else words

    @property
    def stream_options(self) -> tuple[str, ...]:
        """Its options for single streams; see `DecodingMethodSpec.stream_options`.

        Raises:
          PluginError: if no plugin provides the method.
        """
        return registry().decoding_methods.get(self.name).stream_options

    @property
    def needs_reference(self) -> bool:
        """Whether it needs the reference of each stream."""
        return "ref_text" in self.stream_options

    @property
    def hotwords_file(self) -> Path | None:
        """The file with its hotwords; None if it has none."""
        path = self.options.get("hotwords_file")
        return None if path is None else Path(path)

    def without_hotwords(self) -> DecodingMethod:
        """Return the same method without hotwords."""
        options = {
            name: value
            for name, value in self.options.items()
            if not name.startswith("hotwords") and name != "bpe_model"
        }
        return DecodingMethod(self.name, options)

    def search(
        self, session: Session, symbols: SymbolTable, initial_symbol: int | None = None
    ) -> Search:
        """Create the search on a session; see `make_search` for ``initial_symbol``."""
        return make_search(
            self.name,
            session,
            symbols=symbols,
            initial_symbol=initial_symbol,
            **self.options,
        )


def choose_decoding_methods(
    names: Sequence[str], options: Mapping[str, Any]
) -> list[DecodingMethod]:
    """Return methods by name, each with the options that it has.

    Raises:
      PluginError: if no plugin provides a method.
      ConfigError: if no method has one of the options, or a value is invalid.
    """
    known = {
        name: {
            option.name for option in fields(registry().decoding_methods.get(name).options.load())
        }
        for name in dict.fromkeys(names)
    }
    for option in options:
        if not any(option in of_method for of_method in known.values()):
            raise ConfigError(
                f"{option_name(option)} is not an option of {' or '.join(known)}",
                fix=f"leave it out, or choose a --decoding-method that has it: "
                f"{', '.join(_methods_with(option))}",
            )
    methods = [
        DecodingMethod(
            name, {option: value for option, value in options.items() if option in of_method}
        )
        for name, of_method in known.items()
    ]
    for method in methods:
        _check(method)
    return methods


def with_and_without_hotwords(methods: Sequence[DecodingMethod]) -> list[DecodingMethod]:
    """Yield the methods; each method with hotwords is followed by the same method without."""
    both: dict[str, DecodingMethod] = {}
    for method in methods:
        both.setdefault(method.key, method)
        if method.hotwords_file is not None:
            without = method.without_hotwords()
            both.setdefault(without.key, without)
    return list(both.values())


def _check(method: DecodingMethod) -> None:
    cls = registry().decoding_methods.get(method.name).options.load()
    for option in fields_help(cls):
        if option.required and option.name not in method.options:
            raise ConfigError(f"{method.name} needs {option_name(option.name)}", fix=option.help)
    resolve(cls, method.options)


def _methods_with(option: str) -> list[str]:
    """Return the methods that have an option, among those with importable options."""
    names = []
    for search in registry().decoding_methods:
        with suppress(PluginError):
            if option in {one.name for one in fields(search.options.load())}:
                names.append(search.name)
    return names
