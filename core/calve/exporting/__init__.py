"""Export of checkpoints as verified bundles: golden data, parity, quantization, verification.

How a format is written is in the plugin of that format.
`testing` and `cli` may import it.
"""
