"""Connected digits from the Free Spoken Digit Dataset.

The data set (https://github.com/Jakobovski/free-spoken-digit-dataset) holds single digits at
8 kHz, one file each, named ``{digit}_{speaker}_{index}.wav``. Its official split tests on the
indices 0 to 4. Here one speaker is held out entirely as well, so that two figures can be told
apart: how well a model knows new recordings of known speakers, and how well it knows a stranger.
"""
