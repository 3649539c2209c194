"""The command line: commands, options, output and exit codes.

What a command does stands in the rooms below, as functions that serve Python as well.
No other room imports this one, and no other knows click.
"""
