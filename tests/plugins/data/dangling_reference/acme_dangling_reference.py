from calve.api import DecodingMethodSpec, EncoderSpec, LazyRef, hookimpl

_NOWHERE = LazyRef("acme_dangling_reference:no_such_thing")


@hookimpl
def calve_register_encoders():
    yield EncoderSpec("dangling", _NOWHERE, _NOWHERE, _NOWHERE, (), "refers to nothing")


@hookimpl
def calve_register_decoders():
    yield DecodingMethodSpec("dangling_search", _NOWHERE, _NOWHERE, "refers to nothing")


def calve_register_commands():
    return []
