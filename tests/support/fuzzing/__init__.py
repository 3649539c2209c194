"""Structured mutations of every file that calve reads, and what must not happen then.

``python -m fuzzing --help`` (with ``tests/support`` on ``PYTHONPATH``) or ``make fuzz`` runs it.
"""
