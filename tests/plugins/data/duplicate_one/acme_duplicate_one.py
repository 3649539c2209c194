from calve.api import CommandSpec, DecodingMethodSpec, LazyRef, hookimpl


@hookimpl
def calve_register_decoders():
    for name in ("contested_search", "search_one"):
        yield DecodingMethodSpec(name, LazyRef("os:getcwd"), LazyRef("os:getcwd"), "a search")


@hookimpl
def calve_register_commands():
    yield CommandSpec("contested", LazyRef("os:getcwd"), "A command of two plugins.")
