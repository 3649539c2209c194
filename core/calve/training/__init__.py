"""One training run and one preparation of a corpus, whoever starts them.

Losses, optimizers and trainers are plugins; corpora are plugins.
`export`, `testing` and `cli` may import it.
"""
