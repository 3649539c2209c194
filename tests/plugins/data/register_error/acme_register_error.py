from calve.api import hookimpl


@hookimpl
def calve_register_encoders(no_such_argument):
    return []
