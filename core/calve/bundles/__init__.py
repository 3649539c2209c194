"""Bundles, the directories that run on a device: manifest, files, metadata, golden data, clients.

Export is in `exporting`; drivers run the networks. `decoding`, `training`, `exporting`, `testing`
and `cli` may import it, and so may plugins.
"""
