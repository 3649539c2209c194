"""Stages of preparation that corpora of whole sentences share."""
