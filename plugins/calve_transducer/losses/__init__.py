"""The transducer losses and their lattice recursions: full, simple, smoothed and pruned.

No model, no optimizer and no trainer is here; the functions take and return plain tensors.
Everything may import it except `calve_transducer.layers` and `calve_transducer.searches`.
"""
