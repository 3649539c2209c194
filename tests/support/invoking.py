"""Running one command as the ``calve`` group runs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
from click.testing import CliRunner, Result

from calve.cli.application import report
from calve.errors import CalveError

__all__ = ["invoke"]


class _Reporting:
    """A command whose errors become messages and exit codes, as in `calve.cli.application`."""

    def __init__(self, command: click.Command) -> None:
        self.name = command.name
        self._command = command

    def main(self, **settings: Any) -> None:
        try:
            self._command.main(**settings)
        except CalveError as error:
            sys.exit(report(error))


def invoke(command: click.Command, arguments: Sequence[object] = (), **settings: Any) -> Result:
    """The outcome of ``command`` called with ``arguments``; what it raises is reported."""
    runner = CliRunner()
    return runner.invoke(_Reporting(command), [str(one) for one in arguments], **settings)  # type: ignore[arg-type]
