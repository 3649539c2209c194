"""Bundles, the directories that run on a device: manifest, files, metadata, golden data, clients.

How a bundle is made is in `exporting`; what runs its networks is a driver.
`decoding`, `training`, `exporting`, `testing` and `cli` may import it, and so may plugins.
"""
