"""A third-party plugin as it should be."""
