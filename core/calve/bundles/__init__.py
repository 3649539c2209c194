"""The directory that runs on a device: its manifest, its files, its metadata, its clients.

How a bundle is made is in `export`; what runs its networks is a driver.
`decoding`, `training`, `export`, `testing` and `cli` may import it, and so may plugins.
"""
