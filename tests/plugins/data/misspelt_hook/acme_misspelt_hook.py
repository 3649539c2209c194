from calve.api import hookimpl


@hookimpl
def calve_register_encoder():
    return []
