"""Decoding of sessions to text: offline, online, in batches and jobs, with endpoints.

Decoding methods and runtimes are plugins and drivers; none is named here.
`exporting`, `testing` and `cli` may import it.
"""
