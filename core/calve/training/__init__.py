"""Training runs and the preparation of corpora.

Losses, optimizers and trainers are plugins; corpora are plugins.
`exporting`, `testing` and `cli` may import it.
"""
