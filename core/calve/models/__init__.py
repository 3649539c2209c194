"""From checkpoint files to a torch module: choosing, averaging, inferring sizes, loading weights.

No network is defined here and torch is imported inside functions; networks are plugins.
`decoding`, `training`, `export`, `testing` and `cli` may import it.
"""
