"""References to Python objects and package files, resolved when they are used."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calve.errors import PluginError

__all__ = ["LazyRef", "Resource"]

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True)
class LazyRef:
    """A reference ``"package.module:attribute"`` that is imported only when it is used."""

    target: str

    def __post_init__(self) -> None:
        if not _REFERENCE.fullmatch(self.target):
            raise PluginError(
                f"{self.target!r} is not a reference", fix="write it as 'package.module:attribute'"
            )

    def load(self) -> Any:
        """Import the module and return the attribute.

        Raises:
          PluginError: if the module cannot be imported or has no such attribute; the original
            exception is its ``__cause__``.
        """
        module_name, _, attributes = self.target.partition(":")
        try:
            value: Any = importlib.import_module(module_name)
            for attribute in attributes.split("."):
                value = getattr(value, attribute)
        except (Exception, SystemExit) as error:
            missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
            raise PluginError(
                f"cannot load {self.target}: {type(error).__name__}: {error}",
                fix=f"install the package that provides {missing!r}" if missing else None,
            ) from error
        return value


@dataclass(frozen=True)
class Resource:
    """A data file inside an installed package."""

    package: str
    path: str

    def read_text(self) -> str:
        """The file's UTF-8 text."""
        text: str = self._traversable().read_text(encoding="utf-8")
        return text

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """A real file system path, valid inside the ``with`` block."""
        from importlib.resources import as_file

        with as_file(self._traversable()) as path:
            yield path

    def _traversable(self) -> Any:
        # Not at module level: every command imports this module, few read a resource.
        from importlib.resources import files

        return files(self.package).joinpath(self.path)
