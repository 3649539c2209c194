"""LibriSpeech: 960 hours of read English books (https://www.openslr.org/12)."""
