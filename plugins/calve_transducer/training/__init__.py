"""One training run: loop, step, optimizers, checkpoints, logs, processes, curves.

No network and no corpus is here; both arrive in a `calve.protocols.TrainingRun`.
The family, the commands and `calve_bench` may import it.
"""
