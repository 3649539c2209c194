"""A corpus that somebody has lhotse manifests of already."""
