"""Corpora with existing lhotse manifests."""
