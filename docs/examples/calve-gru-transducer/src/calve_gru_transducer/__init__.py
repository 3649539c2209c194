"""A small streaming GRU encoder for calve."""
