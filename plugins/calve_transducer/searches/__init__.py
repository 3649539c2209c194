"""Decoding methods on the session protocol; none of them knows what runs the networks."""
