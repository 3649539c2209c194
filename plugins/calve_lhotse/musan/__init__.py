"""MUSAN: music, speech and noise to mix into training data (https://www.openslr.org/17)."""
