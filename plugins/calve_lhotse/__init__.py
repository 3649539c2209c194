"""Corpora, their preparation and their batches, on lhotse."""
