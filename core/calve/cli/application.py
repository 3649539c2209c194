"""The ``calve`` command.

A command's module is imported when the command is run: ``calve --help`` prints one line for each
command from static text. This is also the one place where errors become messages and exit codes.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from calve.common.paths import is_native_path
from calve.common.suggest import did_you_mean
from calve.common.terminal import print_to_stderr
from calve.common.termination import Terminated, raise_when_terminated
from calve.errors import CalveError, PluginError
from calve.registry.builtin_commands import BUILTIN_COMMANDS
from calve.registry.specs import CommandSpec

__all__ = ["LazyCommand", "main", "report", "run"]

_INTERRUPTED = 130
_FOR_BROKEN_PLUGINS = ("plugins", "doctor")
"""Commands that describe broken plugins, and therefore never refuse to run because of them."""
_STDERR = 2


class LazyCommand(click.Command):
    """A command of which only the name and the short help are known until it is run."""

    def __init__(self, spec: CommandSpec) -> None:
        super().__init__(spec.name, short_help=spec.short_help, help=spec.short_help)
        self._spec = spec

    def load(self) -> click.Command:
        """The command itself.

        Raises:
          PluginError: if it cannot be imported or is no click command.
        """
        command = self._spec.command.load()
        if not isinstance(command, click.Command):
            raise PluginError(
                f"the command {self.name!r} is {type(command).__name__}, not a click command",
                where=self._spec.command.target,
            )
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        return self.load().make_context(*args, **kwargs)


class _Calve(click.Group):
    """Built-in commands first, then those of plugins in a section of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_BUILTINS, *_plugin_commands()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _BUILTINS:
            return LazyCommand(_BUILTINS[cmd_name])
        from calve.registry.catalog import registry

        commands = registry().commands
        if cmd_name in commands or cmd_name in commands.conflicts():
            return LazyCommand(commands.get(cmd_name))
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None and not args[0].startswith("-"):
            hint = did_you_mean(args[0], self.list_commands(ctx)) or "see calve --help"
            raise click.UsageError(f"No such command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections = {"Commands": _BUILTINS, "Commands of plugins": _plugin_commands()}
        for title, commands in sections.items():
            if commands:
                with formatter.section(title):
                    formatter.write_dl([(n, spec.short_help) for n, spec in commands.items()])


_BUILTINS = {spec.name: spec for spec in BUILTIN_COMMANDS}


def _plugin_commands() -> dict[str, CommandSpec]:
    from calve.registry.catalog import build_registry, report_problems

    report_problems()
    return {spec.name: spec for spec in build_registry().commands}


@dataclass
class _Settings:
    """What every command finds in its context's ``obj``.

    Attributes:
      arguments: All that ``calve`` was called with.
      debug: Whether tracebacks are shown.
    """

    arguments: list[str]
    debug: bool = False


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        import calve

        click.echo(f"calve {calve.__version__}")  # noqa: TID251 (nothing from elsewhere)
        ctx.exit()


def _disable_plugins(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        # In the environment, so that child processes do the same.
        disabled = os.environ.get("CALVE_DISABLE_PLUGINS", "")
        os.environ["CALVE_DISABLE_PLUGINS"] = f"{disabled},all"


@click.group(cls=_Calve, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, envvar="CALVE_DEBUG", help="Show tracebacks of errors.")
@click.option(
    "--no-plugins",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_disable_plugins,
    help="Load only the plugins that come with calve.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
@click.pass_context
def calve_command(ctx: click.Context, debug: bool) -> None:
    """Train, export, quantize and run streaming speech recognizers."""
    ctx.obj.debug = debug
    if ctx.invoked_subcommand not in _FOR_BROKEN_PLUGINS:
        _refuse_broken_plugins_if_strict()


def _refuse_broken_plugins_if_strict() -> None:
    if os.environ.get("CALVE_STRICT_PLUGINS"):
        from calve.registry.catalog import is_strict, registry

        if is_strict():
            registry()


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the ``calve`` command and return its exit code; everything raised is reported.

    Args:
      arguments: What follows ``calve``; those of this process by default.
    """
    settings = _Settings(list(sys.argv[1:] if arguments is None else arguments))
    try:
        exit_code = calve_command.main(
            args=settings.arguments,
            prog_name="calve",
            standalone_mode=False,
            obj=settings,
            color=False if os.environ.get("NO_COLOR") else None,
        )
        if sys.stdout is not None:
            sys.stdout.flush()
    # A command, a plugin or a library may raise anything.
    except (Exception, KeyboardInterrupt) as error:
        return report(error, debug=settings.debug)
    # Outside standalone mode click returns the code of `ctx.exit(code)`, else what the command did.
    return exit_code if isinstance(exit_code, int) else 0


def report(error: Exception | KeyboardInterrupt, *, debug: bool = False) -> int:
    """Print what ended a command on stderr, and return the exit code for it."""
    # click raises its own exception in place of the interrupt.
    request = error.__cause__ if isinstance(error, click.Abort) else error
    if isinstance(request, Terminated):
        print_to_stderr(f"Ended: {request}.")
        return request.exit_code
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        print_to_stderr("Interrupted.")
        return _INTERRUPTED
    if isinstance(error, OSError) and _was_printing(error):
        return _report_lost_output(error)
    if debug:
        print_to_stderr("".join(traceback.format_exception(error)).rstrip())
    return _report_failure(error, debug)


def _was_printing(error: OSError) -> bool:
    """Whether a write to stdout failed: in click, in the last flush, or into a closed pipe."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    module = frames[-1].f_globals.get("__name__")
    return module in (click.utils.__name__, __name__) or isinstance(error, BrokenPipeError)


def _report_lost_output(error: OSError) -> int:
    # The interpreter must not flush into it once more when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # A reader that has seen enough closes its end; that is no failure to talk about.
    if not isinstance(error, BrokenPipeError):
        from calve.cli.output import print_error

        print_error(f"the results cannot be printed: {error.strerror}\n  where: stdout")
    return 1


def _report_failure(error: Exception, debug: bool) -> int:
    from calve.cli.output import print_error

    if isinstance(error, CalveError):
        print_error(error)
        return error.exit_code
    if isinstance(error, click.ClickException):
        shown = io.StringIO()
        error.show(shown)  # It quotes what was typed, perhaps control characters.
        print_to_stderr(shown.getvalue().rstrip("\n"))
        return error.exit_code
    if (refused := _refused_file(error)) is not None:
        print_error(refused)
        return refused.exit_code
    hint = "" if debug else "\n  fix:   `calve --debug ...` shows where; please report it"
    print_error(f"unexpected {type(error).__name__}: {error}{hint}")
    return 1


def _refused_file(error: Exception) -> CalveError | None:
    """An error of the system or of a library that concerns a file, explained."""
    if isinstance(error, UnicodeEncodeError) and not is_native_path(error.object):
        # A library of C++ was given the name of a file.
        return CalveError(
            "a name is not UTF-8, and a library cannot open the file",
            where=error.object,
            fix="rename the file or the folder",
        )
    if isinstance(error, OSError) and error.filename and error.strerror:
        # Its name is too long, it may not be read, its disk is gone.
        where = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        return CalveError(f"the system refuses a file: {error.strerror}", where=str(where))
    return None


def main() -> None:
    """Entry point of the ``calve`` script."""
    raise_when_terminated()
    _occupy_closed_descriptors()
    _silence_warnings()
    # For every Python process that a command starts: none imports from where the user stands.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    # Looking for further devices, torch reads the entry points of all installed packages, and one
    # malformed file keeps it from being imported. Set it to 1 for a device of another package.
    os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
    if isinstance(sys.stdout, io.TextIOWrapper):
        _keep_stdout_for_results(sys.stdout)
    sys.exit(run())


def _silence_warnings() -> None:
    """Hide Python's warnings, in processes that this one starts as well.

    Libraries address them to programmers; calve prints its own. ``PYTHONWARNINGS`` shows them.
    """
    if "PYTHONWARNINGS" not in os.environ:
        os.environ["PYTHONWARNINGS"] = "ignore"
        warnings.simplefilter("ignore")


def _occupy_closed_descriptors() -> None:
    """Keep files from getting the numbers of streams that are closed.

    What native code and child processes print would be written into such a file.
    """
    for descriptor in (0, 1, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It gets the lowest free number.


def _keep_stdout_for_results(stdout: io.TextIOWrapper) -> None:
    """Let only calve print on stdout; what else writes to file descriptor 1 reaches stderr.

    Native code and child processes write to the descriptor, not to Python's ``sys.stdout``.
    """
    # Names and transcripts may have letters that the terminal's encoding lacks.
    stdout.reconfigure(errors="backslashreplace")
    try:
        stdout.flush()
        results = os.dup(stdout.fileno())
    except OSError:  # it is closed
        return
    try:
        os.dup2(_STDERR, stdout.fileno())
    except OSError:  # stderr is closed
        os.close(results)
        return
    buffering = 1 if os.isatty(results) else -1
    sys.stdout = os.fdopen(
        results, "w", buffering, encoding=stdout.encoding, errors="backslashreplace"
    )
