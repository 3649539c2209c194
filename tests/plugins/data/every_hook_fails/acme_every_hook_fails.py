from calve.api import hookimpl
from calve.registry import hookspecs


def _failing(name):
    def hook():
        raise RuntimeError(f"{name} is out of order")

    hook.__name__ = name
    return hookimpl(hook)


for _name in list(vars(hookspecs)):
    if _name.startswith("calve_"):
        globals()[_name] = _failing(_name)
