"""One training run and one preparation of a corpus, whoever starts them.

Losses, optimizers and trainers are plugins; corpora are plugins.
`exporting`, `testing` and `cli` may import it.
"""
