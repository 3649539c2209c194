"""Drivers on k2: a loss backend and FSA backends, imported only when they are selected."""
