"""Audio, features, symbol tables, transcripts and utterances as values.

No corpus, manifest format or network is known here; corpora are plugins.
Every room above `common` may import it, and so may plugins.
"""
