"""The error classes of calve.

Each is a `CalveError`: it says *what* is wrong, *where*, and *how to fix it*. The command line
prints it and exits with its code; ``--debug`` adds the traceback.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AudioError",
    "BundleError",
    "CalveError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "ExportError",
    "PluginError",
    "TokensError",
]


class CalveError(Exception):
    """Base class of all errors that calve raises deliberately.

    Args:
      what: The problem, as one sentence without a final period.
      where: The file, option or plugin concerned.
      fix: The remedy.

    Attributes:
      exit_code: Exit code of ``calve``: 1 if the work failed, 2 if the request was wrong.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: object = None, fix: str | None = None) -> None:
        self.what = what
        # A name may hold line ends; the next line of the message is not for it to write.
        self.where = None if where is None else str(where).replace("\n", "\\n")
        self.fix = fix
        super().__init__(self._compose())

    def _compose(self) -> str:
        lines = [self.what]
        if self.where is not None:
            lines.append(f"  where: {self.where}")
        if self.fix is not None:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)


class ConfigError(CalveError):
    """An option, argument or configuration file that is invalid."""

    exit_code = 2


class PluginError(CalveError):
    """A plugin that is missing, broken or in conflict with another."""


class CheckpointError(CalveError):
    """A checkpoint that cannot be read or averaged, or does not fit its recipe."""


class TokensError(CalveError):
    """A symbol table that cannot be read or does not fit the model."""


class AudioError(CalveError):
    """A recording that cannot be read."""


class DataError(CalveError):
    """A corpus, manifest or feature file that is missing or malformed."""


class ExportError(CalveError):
    """An export step that failed; nothing was written."""


class BundleError(CalveError):
    """A bundle that is missing, incomplete or does not match its manifest."""
