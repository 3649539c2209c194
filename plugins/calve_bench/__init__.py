"""Benchmarks of losses, decoding methods, FSA backends, training steps and streaming.

Bundles are measured by `calve bench` in core; what both need is `calve.common.measuring`.
No other plugin imports this one.
"""
