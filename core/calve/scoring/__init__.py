"""What was right: error rates, alignments, rankings, hotword counts and result files.

Nothing here decodes; hypotheses come in as texts.
`decoding`, `training`, `export`, `testing` and `cli` may import it.
"""
