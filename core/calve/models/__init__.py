"""From checkpoint files to a torch module: choosing, averaging, inferring sizes, loading weights.

No network is defined here and torch is imported inside functions; networks are plugins.
`decoding`, `training`, `exporting`, `testing` and `cli` may import it.
"""
