from calve.api import hookimpl


@hookimpl
def calve_register_encoders():
    return ["acme_encoder"]
