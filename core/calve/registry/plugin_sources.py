"""Origin and problems of plugins."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["PluginSource", "Problem"]


@dataclass(frozen=True)
class PluginSource:
    """Origin of a plugin.

    Attributes:
      name: Name of its entry point.
      target: Target of the entry point, for example "my_package.plugin".
      distribution: Name of the installed distribution.
      version: Version of the distribution.
      is_builtin: Whether the plugin comes with calve itself. The name of a distribution does not
        tell: any distribution may call itself calve.
    """

    name: str
    target: str
    distribution: str
    version: str
    is_builtin: bool = False

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.distribution} {self.version}"

    @property
    def order(self) -> tuple[bool, str, str, str]:
        """Sorts built-in plugins first, then by distribution and name."""
        return (not self.is_builtin, self.distribution, self.name, self.target)


@dataclass(frozen=True)
class Problem:
    """A problem of one plugin.

    Attributes:
      source: The plugin.
      stage: The failed stage: "requirements", "load", "register", "conflict" or the name of a hook.
      cause: One-line explanation.
      exception: The original exception, if any.
    """

    source: PluginSource
    stage: str
    cause: str
    exception: BaseException | None = field(default=None, compare=False)

    @property
    def line(self) -> str:
        """The line on stderr that reports the problem."""
        return (
            f"calve: {self.source}: {self.stage}: {self.cause} "
            f"(more: calve plugins check {self.source.name})"
        )
