class AcmeRuntime:
    pass
