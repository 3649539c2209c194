"""Tools that any program could use: files, child processes, process maps, progress, configuration.

Nothing here knows speech, models or plugins.
Every room may import it, and so may plugins.
"""
