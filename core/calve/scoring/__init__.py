"""What was right: error rates, alignments, rankings, hotword counts and result files.

Nothing here decodes; hypotheses come in as texts.
`decoding`, `training`, `exporting`, `testing` and `cli` may import it.
"""
