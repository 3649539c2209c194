"""TorchScript bundles: export by tracing or scripting, scan of the code, and runtime."""
