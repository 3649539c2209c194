"""A folder of WAV files and a CSV file with their words, as a corpus for calve."""
