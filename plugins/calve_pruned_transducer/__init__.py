"""The recipes pruned_transducer_stateless, 2, 4 and 5: one streaming conformer in a transducer."""
