"""The directory that runs on a device: its manifest, its files, its metadata, its clients.

How a bundle is made is in `exporting`; what runs its networks is a driver.
`decoding`, `training`, `exporting`, `testing` and `cli` may import it, and so may plugins.
"""
