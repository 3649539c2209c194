"""Scoring: error rates, alignments, rankings, hotword counts and result files.

Nothing here decodes; hypotheses are texts.
`decoding`, `training`, `exporting`, `testing` and `cli` may import it.
"""
