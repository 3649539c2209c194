import no_such_module_for_calve  # noqa: F401
