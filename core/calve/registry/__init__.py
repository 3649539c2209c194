"""Specs, hook specifications, finding, calling and describing plugins, the scaffold.

No plugin is named or imported here, and nothing here runs a model.
Every room above `protocols` may import it; plugins import `calve.api` instead.
"""
