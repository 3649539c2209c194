"""Models from checkpoint files: selection, averaging, inferred sizes, weights.

No network is defined here and torch is imported inside functions; networks are plugins.
`decoding`, `training`, `exporting`, `testing` and `cli` may import it.
"""
