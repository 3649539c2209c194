from calve.api import CommandSpec, LazyRef, hookimpl


@hookimpl
def calve_register_encoders():
    yield from ()
    raise RuntimeError("out of coffee")


@hookimpl
def calve_register_commands():
    yield CommandSpec("survivor", LazyRef("os:getcwd"), "A command that is no click command.")
