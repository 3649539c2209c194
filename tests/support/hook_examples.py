"""The examples in `calve.registry.hookspecs`, executed as a plugin's own text would be."""

from __future__ import annotations

import doctest
import inspect
from types import ModuleType

from calve import api
from calve.registry import hookspecs

__all__ = ["example_plugin"]


def example_plugin(hook: str) -> ModuleType:
    """A plugin that implements one hook, as the example in its docstring does."""
    (example,) = doctest.DocTestParser().get_examples(inspect.getdoc(getattr(hookspecs, hook)))
    module = ModuleType("example")
    exec(example.source, {**vars(api)}, vars(module))
    return module
